//! Numbers out of tensors.

use burn::tensor::{Tensor, backend::Backend};

/// The one element of a tensor, in full precision.
///
/// `into_scalar` would round an f64 tensor to the backend's own element type.
///
/// # Panics
/// If there is no element.
pub(crate) fn scalar<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> f64 {
    tensor.into_data().iter().next().expect("one element")
}
