//! Operations whose tangent rules live in the kernels crate, and convolution with frozen weights.

use burn::tensor::{Tensor, module::conv2d, ops::ConvOptions};
use seqlora_kernels::{KernelBackend, attention::AttentionMask, lora_linear::LoraPair};

use super::Dual;

impl<B: KernelBackend, const D: usize> Dual<B, D> {
    /// `x σ(x)`
    pub fn silu(self) -> Self {
        B::silu_pair(self.into()).into()
    }

    /// `x Φ(x)`
    pub fn gelu(self) -> Self {
        B::gelu_pair(self.into()).into()
    }

    /// `x σ(1.702 x)`
    pub fn quick_gelu(self) -> Self {
        B::quick_gelu_pair(self.into()).into()
    }

    /// Normalisation over the last dimension, with frozen weights.
    pub fn layer_norm(self, weight: Tensor<B, 1>, bias: Tensor<B, 1>, epsilon: f64) -> Self {
        B::layer_norm_pair(self.into(), weight, bias, epsilon).into()
    }
}

impl<B: KernelBackend> Dual<B, 2> {
    /// `x Wᵀ + b + (x B) Aᵀ`; see [`seqlora_kernels::lora_linear`].
    pub fn lora_linear(
        self,
        weight: Tensor<B, 2>,
        bias: Option<Tensor<B, 1>>,
        lora: Option<LoraPair<B>>,
    ) -> Self {
        B::lora_linear_pair(self.into(), weight, bias, lora).into()
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
        B::group_norm_pair(self.into(), groups, weight, bias, epsilon).into()
    }

    /// `softmax(q kᵀ/√d) v` over `[batch, heads, tokens, d]`.
    pub fn attention(query: Self, key: Self, value: Self, mask: AttentionMask) -> Self {
        B::attention_pair(query.into(), key.into(), value.into(), mask).into()
    }

    /// Convolution with a frozen weight `[outputs, inputs, height, width]`.
    pub fn conv2d(
        self,
        weight: Tensor<B, 4>,
        bias: Option<Tensor<B, 1>>,
        stride: usize,
        padding: usize,
    ) -> Self {
        let options = || ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
        let tangent = self.tangent.map(|t| conv2d(t, weight.clone(), None, options()));
        Self { primal: conv2d(self.primal, weight, bias, options()), tangent }
    }
}
