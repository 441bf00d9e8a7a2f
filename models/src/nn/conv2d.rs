//! Convolutions, and the downsampling and upsampling layers built from them.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;

use super::frozen;

/// The sizes of a [`Conv2d`].
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride in both directions.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros added on every side.
    #[config(default = 0)]
    pub padding: usize,
    /// Whether it has a bias.
    #[config(default = true)]
    pub bias: bool,
}

/// A frozen convolution.
#[derive(Module, Debug)]
pub struct Conv2d<B: Backend> {
    /// `[outputs, inputs, kernel, kernel]`
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    stride: usize,
    padding: usize,
}

impl Conv2dConfig {
    /// A convolution with kernel 3 and padding 1, which keeps height and width.
    pub fn same3(inputs: usize, outputs: usize) -> Self {
        Self::new(inputs, outputs, 3).with_padding(1)
    }

    /// A convolution without weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Conv2d<B> {
        Conv2d {
            weight: frozen([self.outputs, self.inputs, self.kernel, self.kernel], device),
            bias: self.bias.then(|| frozen([self.outputs], device)),
            stride: self.stride,
            padding: self.padding,
        }
    }
}

impl<B: KernelBackend> Conv2d<B> {
    /// Applies the convolution.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height', width']` with
    ///   `height' = (height + 2 · padding − kernel) / stride + 1`, rounded down
    pub fn forward(&self, x: Dual<B, 4>, adapters: &DualAdapters<B>) -> Dual<B, 4> {
        let weight = self.weight.val();
        let zeros = || Tensor::zeros([weight.dims()[0]], (&weight.device(), weight.dtype()));
        let bias = self.bias.as_ref().map_or_else(zeros, Param::val);
        adapters.conv2d(x, weight, bias, self.stride, self.padding)
    }
}

/// Halves height and width with a convolution of stride 2.
#[derive(Module, Debug)]
pub struct Downsample<B: Backend> {
    conv: Conv2d<B>,
    /// Whether only the right and the bottom are padded, as in VAE encoders.
    one_sided: bool,
}

impl<B: KernelBackend> Downsample<B> {
    /// A layer without weights, which keeps the number of channels. With `one_sided` it pads only the
    /// right and the bottom, otherwise all sides.
    pub fn new(channels: usize, one_sided: bool, device: &B::Device) -> Self {
        let padding = if one_sided { 0 } else { 1 };
        let conv = Conv2dConfig::new(channels, channels, 3).with_stride(2).with_padding(padding);
        Self { conv: conv.init(device), one_sided }
    }

    /// Downsamples an image.
    ///
    /// # Shapes
    /// - x: `[batch, channels, height, width]`
    /// - output: `[batch, channels, height / 2, width / 2]`
    pub fn forward(&self, x: Dual<B, 4>, adapters: &DualAdapters<B>) -> Dual<B, 4> {
        self.conv.forward(if self.one_sided { x.pad_bottom_right(1) } else { x }, adapters)
    }
}

/// Doubles height and width by repeating each pixel, followed by a convolution.
#[derive(Module, Debug)]
pub struct Upsample<B: Backend> {
    conv: Conv2d<B>,
}

impl<B: KernelBackend> Upsample<B> {
    /// A layer without weights, which keeps the number of channels.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self { conv: Conv2dConfig::same3(channels, channels).init(device) }
    }

    /// Upsamples an image.
    ///
    /// # Shapes
    /// - x: `[batch, channels, height, width]`
    /// - output: `[batch, channels, 2 · height, 2 · width]`
    pub fn forward(&self, x: Dual<B, 4>, adapters: &DualAdapters<B>) -> Dual<B, 4> {
        self.conv.forward(x.upsample_nearest(2), adapters)
    }
}
