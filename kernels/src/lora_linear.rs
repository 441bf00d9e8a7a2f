//! A frozen linear layer with a low-rank adapter, value and tangent together.

use burn::tensor::{Tensor, backend::Backend};

use crate::{Pair, add_tangents};

/// The two factors of ΔW = A Bᵀ with their tangents.
///
/// # Shapes
/// - up: A `[outputs, rank]`, down: B `[inputs, rank]`
#[derive(Debug, Clone)]
pub struct LoraPair<B: Backend> {
    /// A, LoRA's up projection.
    pub up: Pair<B, 2>,
    /// B, the transpose of LoRA's down projection.
    pub down: Pair<B, 2>,
}

/// `y = x Wᵀ + b + (x B) Aᵀ`, `ẏ = ẋ Wᵀ + (ẋ B + x Ḃ) Aᵀ + (x B) Ȧᵀ`; A Bᵀ is never formed.
///
/// Differentiating ⟨ẏ, ·⟩ backwards gives the cross-Hessian products of methods.md §1.2: with
/// Ȧ = V, the gradient of the tangent loss is H_AA V at A and H_BA V at B.
///
/// # Shapes
/// - x: `[rows, inputs]`, weight: `[outputs, inputs]` (PyTorch's layout), bias: `[outputs]`
/// - output: `[rows, outputs]`
pub fn lora_linear<B: Backend>(
    (x, dx): Pair<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    lora: Option<LoraPair<B>>,
) -> Pair<B, 2> {
    let weight = weight.transpose();
    let mut y = x.clone().matmul(weight.clone());
    if let Some(bias) = bias {
        y = y + bias.unsqueeze::<2>();
    }
    let mut dy = dx.clone().map(|dx| dx.matmul(weight));
    if let Some(LoraPair { up: (a, da), down: (b, db) }) = lora {
        let a = a.transpose();
        let low = x.clone().matmul(b.clone());
        let dlow = add_tangents(dx.map(|dx| dx.matmul(b)), db.map(|db| x.matmul(db)));
        y = y + low.clone().matmul(a.clone());
        dy = add_tangents(dy, dlow.map(|dlow| dlow.matmul(a)));
        dy = add_tangents(dy, da.map(|da| low.matmul(da.transpose())));
    }
    (y, dy)
}
