//! The backends with SeqLoRA's operations.

use crate::activation::{Activation, Geglu};
use crate::attention::Attention;
use crate::conv2d::Conv2d;
use crate::lora_linear::LoraLinear;
use crate::normalize::Normalize;
use crate::operation::Kernel;
use crate::project::Project;
use crate::tape::Tape;

/// A backend with SeqLoRA's operations, computed by kernels of its own or by the references.
pub trait KernelBackend:
    Kernel<Activation>
    + Kernel<Geglu>
    + Kernel<Normalize>
    + Kernel<Attention>
    + Kernel<LoraLinear>
    + Kernel<Conv2d>
    + Kernel<Project>
{
}

impl<B> KernelBackend for B where
    B: Kernel<Activation>
        + Kernel<Geglu>
        + Kernel<Normalize>
        + Kernel<Attention>
        + Kernel<LoraLinear>
        + Kernel<Conv2d>
        + Kernel<Project>
{
}

/// A backend that can train: an autodiff backend whose inner backend has the same operations.
pub trait TrainBackend: KernelBackend + Tape<InnerBackend: KernelBackend> {}

impl<B: KernelBackend + Tape<InnerBackend: KernelBackend>> TrainBackend for B {}
