//! Scaled dot-product attention with its tangent.

use burn::tensor::{Bool, Tensor, activation, backend::Backend};

use crate::{Pair, add_tangents};

/// Which keys a query may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// Every key.
    Full,
    /// Keys up to the query's own position (CLIP's text encoder).
    Causal,
}

/// `o = softmax(q kᵀ/√d) v`, `ȯ = ṗ v + p v̇` with `ṡ = (q̇ kᵀ + q k̇ᵀ)/√d`.
///
/// # Shapes
/// - query: `[batch, heads, queries, d]`, key and value: `[batch, heads, keys, d]`
/// - output: `[batch, heads, queries, d]`
pub fn attention<B: Backend>(
    (q, dq): Pair<B, 4>,
    (k, dk): Pair<B, 4>,
    (v, dv): Pair<B, 4>,
    mask: AttentionMask,
) -> Pair<B, 4> {
    let [_, _, queries, d] = q.dims();
    let keys = k.dims()[2];
    let scale = (d as f64).powf(-0.5);
    let q = q.mul_scalar(scale);
    let k = k.transpose();

    let scores = q.clone().matmul(k.clone());
    let dscores = add_tangents(
        dq.map(|dq| dq.mul_scalar(scale).matmul(k)),
        dk.map(|dk| q.matmul(dk.transpose())),
    );
    let scores = match mask {
        AttentionMask::Full => scores,
        AttentionMask::Causal => {
            let hidden: Tensor<B, 2, Bool> =
                Tensor::tril_mask([queries, keys], 0, &scores.device());
            scores.mask_fill(hidden.unsqueeze::<4>(), f64::NEG_INFINITY)
        }
    };
    let (p, dp) = softmax((scores, dscores));
    let output = p.clone().matmul(v.clone());
    let tangent = add_tangents(dp.map(|dp| dp.matmul(v)), dv.map(|dv| p.matmul(dv)));
    (output, tangent)
}

/// Softmax over the last dimension: `p = softmax(s)`, `ṗ = p ∘ (ṡ − ⟨p, ṡ⟩)`.
pub fn softmax<B: Backend, const D: usize>((s, ds): Pair<B, D>) -> Pair<B, D> {
    let p = activation::softmax(s, D - 1);
    let dp = ds.map(|ds| {
        let weighted = p.clone() * ds;
        weighted.clone() - p.clone() * weighted.sum_dim(D - 1)
    });
    (p, dp)
}
