//! Operations whose tangent rules live in the kernels crate.

use burn::tensor::Tensor;
use seqlora_kernels::{Activation, KernelBackend, pair};
use seqlora_kernels::{attention::AttentionMask, lora_linear::LoraPair};

use super::Dual;

impl<B: KernelBackend, const D: usize> Dual<B, D> {
    /// An activation, element by element.
    pub fn activate(self, kind: Activation) -> Self {
        pair::activation(kind, self.into()).into()
    }

    /// `x σ(x)`
    pub fn silu(self) -> Self {
        self.activate(Activation::Silu)
    }

    /// Normalisation over the last dimension, with frozen weights.
    pub fn layer_norm(self, weight: Tensor<B, 1>, bias: Tensor<B, 1>, epsilon: f64) -> Self {
        pair::layer_norm(self.into(), weight, bias, epsilon).into()
    }
}

impl<B: KernelBackend> Dual<B, 2> {
    /// `a ∘ gelu(b)` of `[a, b]`, halves of the last dimension.
    pub fn geglu(self) -> Self {
        pair::geglu(self.into()).into()
    }

    /// `x Wᵀ + b + (x B) Aᵀ`; see [`seqlora_kernels::lora_linear`].
    pub fn lora_linear(
        self,
        weight: Tensor<B, 2>,
        bias: Option<Tensor<B, 1>>,
        lora: Option<LoraPair<B>>,
    ) -> Self {
        pair::lora_linear(self.into(), weight, bias, lora).into()
    }
}

impl<B: KernelBackend> Dual<B, 3> {
    /// `softmax(q kᵀ/√d) v` over `[batch, tokens, heads × d]`, head by head.
    pub fn attention(
        query: Self,
        key: Self,
        value: Self,
        heads: usize,
        mask: AttentionMask,
    ) -> Self {
        pair::attention(query.into(), key.into(), value.into(), heads, mask).into()
    }
}

impl<B: KernelBackend> Dual<B, 4> {
    /// Normalisation over groups of channels, with frozen weights.
    pub fn group_norm(
        self,
        groups: usize,
        weight: Tensor<B, 1>,
        bias: Tensor<B, 1>,
        epsilon: f64,
    ) -> Self {
        pair::group_norm(self.into(), groups, weight, bias, epsilon).into()
    }

    /// Convolution with a frozen weight `[outputs, inputs, height, width]`.
    pub fn conv2d(
        self,
        weight: Tensor<B, 4>,
        bias: Tensor<B, 1>,
        stride: usize,
        padding: usize,
    ) -> Self {
        pair::conv2d(self.into(), weight, bias, stride, padding).into()
    }
}
