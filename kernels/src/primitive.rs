//! Float tensors without their rank, as backends compute with them.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

/// A float tensor of any rank.
pub type Float<B> = burn::tensor::ops::FloatTensor<B>;

/// The tensor of a primitive of rank `D`.
pub fn tensor<B: Backend, const D: usize>(primitive: Float<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The primitive of a tensor.
pub fn float<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Float<B> {
    tensor.into_primitive().tensor()
}
