//! Layer and group normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_kernels::{KernelBackend, ops};

use super::frozen;

/// Layer normalisation, over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// `[width]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[width]`
    pub bias: Param<Tensor<B, 1>>,
    epsilon: f64,
}

impl<B: KernelBackend> LayerNorm<B> {
    /// A layer without weights.
    pub fn new(width: usize, epsilon: f64, device: &B::Device) -> Self {
        Self { weight: frozen([width], device), bias: frozen([width], device), epsilon }
    }

    /// Normalises, scales and shifts.
    ///
    /// # Shapes
    /// - x and output: `[..., width]`
    pub fn forward<const D: usize>(&self, x: Dual<B, D>) -> Dual<B, D> {
        ops::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}

/// Group normalisation, over all pixels of a group of channels.
#[derive(Module, Debug)]
pub struct GroupNorm<B: Backend> {
    /// `[channels]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[channels]`
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    epsilon: f64,
}

impl<B: KernelBackend> GroupNorm<B> {
    /// A layer without weights.
    pub fn new(groups: usize, channels: usize, epsilon: f64, device: &B::Device) -> Self {
        Self {
            weight: frozen([channels], device),
            bias: frozen([channels], device),
            groups,
            epsilon,
        }
    }

    /// Normalises, scales and shifts.
    ///
    /// # Shapes
    /// - x and output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        ops::group_norm(x, self.groups, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
