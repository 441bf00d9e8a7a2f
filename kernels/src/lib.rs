//! The operations SeqLoRA asks of a Burn backend.
//!
//! Each works on [`Dual`](burn_jvp::Dual) numbers: a value and, where it depends on the direction of
//! differentiation, its directional derivative (tangent). A missing tangent is an exact zero and costs
//! nothing.
//!
//! | operation | value | tangent |
//! |---|---|---|
//! | [`Activation`] | f(x): SiLU, GELU, quick GELU | f'(x) ẋ |
//! | [`Geglu`](activation::Geglu) | a gelu(b), x = \[a, b\] | gelu(b) ȧ + a gelu'(b) ḃ |
//! | [`Normalize`](normalize::Normalize) | γ x̂ + β | γ (ẋ − mean ẋ − x̂ mean(x̂ẋ))/σ |
//! | [`Attention`](attention::Attention) | p v, p = softmax(q kᵀ/√d + mask) | ṗ v + p v̇ |
//! | [`LoraLinear`](lora_linear::LoraLinear) | x Wᵀ + b + (x B) Aᵀ | product rule |
//! | [`Conv2d`](conv2d::Conv2d) | W ⋆ x + b | W ⋆ ẋ |
//! | [`Project`](project::Project) | B − Q (Qᵀ B), twice | the same of Ḃ |
//!
//! The way of an operation through this crate: [`ops`] is what layers call; [`operation`] says
//! what an operation is, and its own file gives the reference in plain tensor operations;
//! a backend computes it by that reference or by a kernel of its own (`flex` for CPUs, `cube` for
//! GPUs, where attention is `attention::blocks`); the tape records a kernel as one node whose
//! backward pass the kernel brings along. The projection is never on a tape.

pub mod activation;
pub mod attention;
mod autodiff;
mod backend;
pub mod conv2d;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
mod kept;
pub mod lora_linear;
pub mod normalize;
pub mod operation;
pub mod ops;
pub mod project;

pub use activation::Activation;
pub use backend::{KernelBackend, TrainBackend};
#[cfg(feature = "cuda")]
pub use burn_cuda::{Cuda, CudaDevice};
#[cfg(feature = "cpu")]
pub use burn_flex::{Flex, FlexDevice};
#[cfg(feature = "wgpu")]
pub use burn_wgpu::{Wgpu, WgpuDevice};
pub use kept::Kept;
pub use ops::DualOps;
