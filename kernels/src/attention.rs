//! Scaled dot-product attention.

#[cfg(any(test, feature = "cube"))]
pub(crate) mod blocks;

use burn::tensor::{Bool, Tensor, activation, backend::Backend};

use crate::matmul::{MatMul, matmul};
use crate::operation::{Float, Operation, float, tensor};
use burn_jvp::add_tangents;

/// Which keys a query may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// Every key.
    Full,
    /// Keys up to the query's own position (CLIP's text encoder).
    Causal,
}

/// `o = p v` with `p = softmax(s)`, `s = q kᵀ/√d`; `ȯ = ṗ v + p v̇`, `ṗ = p ∘ (ṡ − ⟨p, ṡ⟩)`,
/// `ṡ = (q̇ kᵀ + q k̇ᵀ)/√d`.
///
/// Inputs: q `[batch, queries, heads × d]`, k and v `[batch, keys, heads × d]`, as linear layers
/// return them; output of the shape of q.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// The number of heads, which divides the last dimension.
    pub heads: usize,
    /// Which keys a query may see.
    pub mask: AttentionMask,
}

/// [`Attention`] by the tiled kernels that GPUs have, also where it takes blocks instead, so that they can be
/// tested there. It panics in less than f32 and with heads of more than 1088 channels.
#[derive(Debug, Clone, Copy)]
pub struct TiledAttention(pub Attention);

impl Operation for TiledAttention {
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        self.0.value::<B>(x)
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        self.0.tangent::<B>(x, dx)
    }
}

impl Operation for Attention {
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let [q, k, v] = [0, 1, 2].map(|i| self.split::<B>(&x[i]));
        self.join(matmul(self.probabilities(scale(q), k), v))
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let [q, k, v] = [0, 1, 2].map(|i| self.split::<B>(&x[i]));
        let [dq, dk, dv] = [0, 1, 2].map(|i| dx[i].as_ref().map(|dx| self.split::<B>(dx)));
        let q = scale(q);
        let p = self.probabilities(q.clone(), k.clone());
        let ds = add_tangents(
            dq.map(|dq| matmul(scale(dq), k.transpose())),
            dk.map(|dk| matmul(q, dk.transpose())),
        );
        let dp = ds.map(|ds| {
            let weighted = p.clone() * ds;
            weighted.clone() - p.clone() * weighted.sum_dim(3)
        });
        let tangent = add_tangents(dp.map(|dp| matmul(dp, v)), dv.map(|dv| matmul(p, dv)));
        self.join(tangent.expect("not all tangents are missing"))
    }
}

impl Attention {
    /// `[batch, tokens, heads × d]` to `[batch, heads, tokens, d]`
    fn split<B: Backend>(&self, x: &Float<B>) -> Tensor<B, 4> {
        let x = tensor::<B, 3>(x.clone());
        let [batch, tokens, channels] = x.dims();
        x.reshape([batch, tokens, self.heads, channels / self.heads]).swap_dims(1, 2)
    }

    /// `[batch, heads, tokens, d]` to `[batch, tokens, heads × d]`
    fn join<B: Backend>(&self, y: Tensor<B, 4>) -> Float<B> {
        let [batch, heads, tokens, d] = y.dims();
        float(y.swap_dims(1, 2).reshape([batch, tokens, heads * d]))
    }

    /// softmax(q kᵀ + mask)
    fn probabilities<B: MatMul>(&self, q: Tensor<B, 4>, k: Tensor<B, 4>) -> Tensor<B, 4> {
        let (queries, keys) = (q.dims()[2], k.dims()[2]);
        let scores = matmul(q, k.transpose());
        let scores = match self.mask {
            AttentionMask::Full => scores,
            AttentionMask::Causal => {
                let hidden: Tensor<B, 2, Bool> =
                    Tensor::tril_mask([queries, keys], 0, &scores.device());
                scores.mask_fill(hidden.unsqueeze::<4>(), f64::NEG_INFINITY)
            }
        };
        activation::softmax(scores, 3)
    }
}

/// q/√d
fn scale<B: Backend>(q: Tensor<B, 4>) -> Tensor<B, 4> {
    let d = q.dims()[3];
    q.mul_scalar((d as f64).powf(-0.5))
}
