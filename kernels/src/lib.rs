//! The operations SeqLoRA asks of a Burn backend.
//!
//! Each operation works on a [`Pair`]: a value and, where it depends on the direction of
//! differentiation, its directional derivative (tangent). A missing tangent is an exact zero and
//! costs nothing. [`KernelBackend`] gives every operation a default body in plain tensor
//! operations, which stays the reference that any tuned body is tested against.
//!
//! | operation | value | tangent |
//! |---|---|---|
//! | [`silu`](pointwise::silu) | x σ(x) | σ(x)(1 + x(1 − σ(x))) ẋ |
//! | [`gelu`](pointwise::gelu) | x Φ(x) | (Φ(x) + x φ(x)) ẋ |
//! | [`quick_gelu`](pointwise::quick_gelu) | x σ(1.702 x) | σ(1 + 1.702 x(1 − σ)) ẋ |
//! | [`softmax`](attention::softmax) | p = softmax(s) | p ∘ (ṡ − ⟨p, ṡ⟩) |
//! | [`attention`](attention::attention) | softmax(q kᵀ/√d + mask) v | product rule |
//! | [`layer_norm`](norm::layer_norm), [`group_norm`](norm::group_norm) | γ x̂ + β | γ (ẋ − mean ẋ − x̂ mean(x̂ẋ))/σ |
//! | [`lora_linear`](lora_linear::lora_linear) | x Wᵀ + b + (x B) Aᵀ | product rule |
//! | [`project`](project::project) | B − Q (Qᵀ B), twice | – |

pub mod attention;
mod backend;
pub mod lora_linear;
pub mod norm;
pub mod pointwise;
pub mod project;

pub use backend::{KernelBackend, TrainBackend};
#[cfg(feature = "cuda")]
pub use burn_cuda::{Cuda, CudaDevice};
#[cfg(feature = "cpu")]
pub use burn_flex::{Flex, FlexDevice};
#[cfg(feature = "wgpu")]
pub use burn_wgpu::{Wgpu, WgpuDevice};

use burn::tensor::{Tensor, backend::Backend};

/// A value and, where it depends on the direction, its directional derivative of the same shape.
pub type Pair<B, const D: usize> = (Tensor<B, D>, Option<Tensor<B, D>>);

/// The sum of two tangents, where a missing one is zero.
pub fn add_tangents<B: Backend, const D: usize>(
    a: Option<Tensor<B, D>>,
    b: Option<Tensor<B, D>>,
) -> Option<Tensor<B, D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
