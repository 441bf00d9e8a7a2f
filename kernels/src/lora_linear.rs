//! A linear layer with a low-rank adapter.

use burn::tensor::{Tensor, TensorMetadata, backend::Backend};
use burn_jvp::{Dual, add_tangents};

use crate::matmul::{MatMul, matmul};
use crate::operation::{ArithmeticIntensity, Float, Operation, float, tensor};

/// The two factors of ΔW = A Bᵀ with their tangents.
///
/// # Shapes
/// - up: A `[outputs, rank]`, down: B `[inputs, rank]`
#[derive(Debug, Clone)]
pub struct LoraFactors<B: Backend> {
    /// A, LoRA's up projection.
    pub up: Dual<B, 2>,
    /// B, the transpose of LoRA's down projection.
    pub down: Dual<B, 2>,
}

/// `y = x Wᵀ + b + (x B) Aᵀ`, `ẏ = ẋ Wᵀ + (ẋ B + x Ḃ) Aᵀ + (x B) Ȧᵀ`; A Bᵀ is never formed.
///
/// Differentiating ⟨ẏ, ·⟩ backwards gives the cross-Hessian products of docs/math.md: with
/// Ȧ = V, the gradient of the tangent loss is H_AA V at A and H_BA V at B.
///
/// Inputs: x `[rows, inputs]`, W `[outputs, inputs]` (PyTorch's layout), b `[outputs]` if `bias`,
/// A `[outputs, rank]` and B `[inputs, rank]` if `lora`; output `[rows, outputs]`.
#[derive(Debug, Clone, Copy)]
pub struct LoraLinear {
    /// Whether b is among the inputs.
    pub bias: bool,
    /// Whether A and B are among the inputs.
    pub lora: bool,
}

/// The inputs of a [`LoraLinear`], or what belongs to each.
#[derive(Debug, Clone)]
pub(crate) struct LoraInputs<T> {
    pub x: T,
    pub weight: T,
    pub bias: Option<T>,
    /// A and B
    pub lora: Option<[T; 2]>,
}

impl LoraLinear {
    /// Gives names to the inputs.
    pub(crate) fn inputs<T: Clone>(&self, all: &[T]) -> LoraInputs<T> {
        let first = 2 + usize::from(self.bias);
        LoraInputs {
            x: all[0].clone(),
            weight: all[1].clone(),
            bias: self.bias.then(|| all[2].clone()),
            lora: self.lora.then(|| [all[first].clone(), all[first + 1].clone()]),
        }
    }
}

impl Operation for LoraLinear {
    fn arithmetic_intensity<B: Backend>(&self, x: &[Float<B>]) -> ArithmeticIntensity {
        let [outputs, inputs] = x[1].shape().dims();
        ArithmeticIntensity { value: inputs, input_gradient: outputs }
    }

    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let LoraInputs { x, weight, bias, lora } = self.inputs(x);
        let matrix = |t| tensor::<B, 2>(t);
        let x = matrix(x);
        let mut y = matmul(x.clone(), matrix(weight).transpose());
        if let Some(bias) = bias {
            y = y + tensor::<B, 1>(bias).unsqueeze::<2>();
        }
        if let Some([a, b]) = lora {
            y = y + matmul(matmul(x, matrix(b)), matrix(a).transpose());
        }
        float(y)
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let LoraInputs { x: dx, lora: dlora, .. } = self.inputs(dx);
        let matrix = |t| tensor::<B, 2>(t);
        let (x, dx) = (matrix(x), dx.map(matrix));
        let times = |x: &Tensor<B, 2>, m: Float<B>| matmul(x.clone(), matrix(m));
        let times_transposed = |x: Tensor<B, 2>, m: Float<B>| matmul(x, matrix(m).transpose());

        let mut dy = dx.clone().map(|dx| times_transposed(dx, weight));
        if let (Some([a, b]), Some([da, db])) = (lora, dlora) {
            let low = da.map(|da| times_transposed(times(&x, b.clone()), da));
            let dlow = add_tangents(dx.map(|dx| times(&dx, b)), db.map(|db| times(&x, db)));
            dy = add_tangents(dy, dlow.map(|dlow| times_transposed(dlow, a)));
            dy = add_tangents(dy, low);
        }
        float(dy.expect("not all tangents are missing"))
    }
}
