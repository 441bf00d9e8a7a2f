//! The trait that lets a backend replace a reference body by its own.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::attention::{self, AttentionMask};
use crate::lora_linear::{self, LoraPair};
use crate::{Pair, norm, pointwise, project};

/// A backend with SeqLoRA's operations.
///
/// Every method has a default body in plain tensor operations, so any Burn backend, and any
/// nesting of [`Autodiff`], joins with an empty `impl`. The formulas stand on the functions that
/// the defaults call.
pub trait KernelBackend: Backend {
    /// [`pointwise::silu`]
    fn silu_pair<const D: usize>(x: Pair<Self, D>) -> Pair<Self, D> {
        pointwise::silu(x)
    }

    /// [`pointwise::gelu`]
    fn gelu_pair<const D: usize>(x: Pair<Self, D>) -> Pair<Self, D> {
        pointwise::gelu(x)
    }

    /// [`pointwise::quick_gelu`]
    fn quick_gelu_pair<const D: usize>(x: Pair<Self, D>) -> Pair<Self, D> {
        pointwise::quick_gelu(x)
    }

    /// [`attention::attention`]
    fn attention_pair(
        query: Pair<Self, 4>,
        key: Pair<Self, 4>,
        value: Pair<Self, 4>,
        mask: AttentionMask,
    ) -> Pair<Self, 4> {
        attention::attention(query, key, value, mask)
    }

    /// [`norm::layer_norm`]
    fn layer_norm_pair<const D: usize>(
        x: Pair<Self, D>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Pair<Self, D> {
        norm::layer_norm(x, weight, bias, epsilon)
    }

    /// [`norm::group_norm`]
    fn group_norm_pair(
        x: Pair<Self, 4>,
        groups: usize,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Pair<Self, 4> {
        norm::group_norm(x, groups, weight, bias, epsilon)
    }

    /// [`lora_linear::lora_linear`]
    fn lora_linear_pair(
        x: Pair<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        lora: Option<LoraPair<Self>>,
    ) -> Pair<Self, 2> {
        lora_linear::lora_linear(x, weight, bias, lora)
    }

    /// [`project::project`]
    fn project(down: Tensor<Self, 2>, basis: Tensor<Self, 2>) -> Tensor<Self, 2> {
        project::project(down, basis)
    }
}

impl<B: KernelBackend, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {}

/// A backend that can train: one that records a tape over another with the same operations.
pub trait TrainBackend: KernelBackend + AutodiffBackend<InnerBackend: KernelBackend> {}

impl<B: KernelBackend + AutodiffBackend<InnerBackend: KernelBackend>> TrainBackend for B {}

#[cfg(feature = "cpu")]
impl KernelBackend for crate::Flex {}

#[cfg(feature = "wgpu")]
impl KernelBackend for crate::Wgpu {}

#[cfg(feature = "cuda")]
impl KernelBackend for crate::Cuda {}
