//! What most programs need: `use burn_seqlora::prelude::*;`.

pub use burn::backend::Autodiff;

pub use crate::Flow;
#[cfg(feature = "cuda")]
pub use crate::kernels::Cuda;
#[cfg(feature = "cpu")]
pub use crate::kernels::Flex;
#[cfg(feature = "wgpu")]
pub use crate::kernels::Wgpu;
pub use crate::kernels::{KernelBackend, TrainBackend};
pub use crate::settings::TrainConfig;
#[cfg(feature = "models")]
pub use crate::{Learning, Model, Pipeline, Prompt, learn};
