//! The operations that SeqLoRA needs from a Burn backend.
//!
//! Each works on [`Dual`](burn_jvp::Dual) numbers: a value and, if it depends on what moves, its
//! directional derivative (tangent). A missing tangent is an exact zero and costs nothing.
//!
//! | operation | value | tangent |
//! |---|---|---|
//! | [`Activation`] | f(x): SiLU, GELU, quick GELU | f'(x) ẋ |
//! | [`Geglu`](activation::Geglu) | a gelu(b), x = \[a, b\] | gelu(b) ȧ + a gelu'(b) ḃ |
//! | [`Normalize`](normalize::Normalize) | γ x̂ + β | γ (ẋ − mean ẋ − x̂ mean(x̂ẋ))/σ |
//! | [`Attention`](attention::Attention) | p v, p = softmax(q kᵀ/√d + mask) | ṗ v + p v̇ |
//! | [`LoraLinear`](lora_linear::LoraLinear) | x Wᵀ + b + (x B) Aᵀ | product rule |
//! | [`Conv2d`](conv2d::Conv2d) | W ⋆ x + b | W ⋆ ẋ |
//! | [`Project`](project::Project) | B − Q (Qᵀ B), applied twice | the same projection of Ḃ |
//!
//! Layers call the functions in [`ops`], and multiply by [`Times`](matmul::Times). [`operation`] defines what an operation is, and each
//! operation has a file with its reference in plain tensor operations. A backend computes it by
//! that reference or by a kernel of its own (`flex` for CPUs, `cube` for GPUs, where attention in
//! software is `attention::blocks`). The tape records the reference as its many operations, and a kernel as one
//! node whose backward pass is a kernel, too. The projection is never recorded on a tape.

pub mod activation;
mod activation_cache;
pub mod attention;
mod autodiff;
mod backend;
pub mod conv2d;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
pub mod lora_linear;
pub mod matmul;
pub mod normalize;
pub mod operation;
pub mod ops;
mod primitive;
pub mod project;
mod tape;

pub use activation::Activation;
pub use activation_cache::{ActivationCache, CachePass};
pub use backend::{KernelBackend, TrainBackend};
#[cfg(feature = "cuda")]
pub use burn_cuda::{Cuda, CudaDevice};
#[cfg(feature = "cpu")]
pub use burn_flex::{Flex, FlexDevice};
#[cfg(feature = "wgpu")]
pub use burn_wgpu::{Wgpu, WgpuDevice};
pub use matmul::MatMul;
pub use ops::DualOps;
pub use tape::Tape;
