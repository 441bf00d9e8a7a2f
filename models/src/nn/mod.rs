//! Layers with frozen weights, over dual numbers.
//!
//! The fields have PyTorch's parameter names and layouts (`weight` is `[outputs, inputs]`), so the
//! tensors of a checkpoint are used as they are.

mod attention;
mod conv2d;
mod embedding;
mod encoder_layer;
mod feed_forward;
mod linear;
mod norm;
mod resnet;
mod rotary;
mod scope;
mod timestep;

pub use attention::{Attention, AttentionConfig, ProjectionNames};
pub use conv2d::{Conv2d, Conv2dConfig, Downsample, Upsample};
pub use embedding::Embedding;
pub use encoder_layer::{EncoderLayer, EncoderLayerConfig, LayerNames};
pub use feed_forward::FeedForward;
pub use linear::{Linear, LinearConfig};
pub use norm::{GroupNorm, LayerNorm};
pub use resnet::{ResnetBlock, ResnetConfig};
pub use rotary::Rotary;
pub use scope::Scope;
pub use timestep::{Frequency, TimestepEmbedding};

use burn::module::{Param, ParamId};
use burn::tensor::{Shape, Tensor, backend::Backend};

/// A parameter that requires no gradient, and takes no memory until a checkpoint fills it.
pub fn frozen<B: Backend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    let zeros = move |device: &B::Device, _| Tensor::zeros(shape, device);
    Param::uninitialized(ParamId::new(), zeros, device.clone(), false, Shape::from(shape))
}
