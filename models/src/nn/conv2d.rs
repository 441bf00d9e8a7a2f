//! Convolutions, and the down- and upsampling built from them.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_kernels::{KernelBackend, ops};

use super::frozen;

/// Sizes of a [`Conv2d`].
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step in both directions.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros added on every side.
    #[config(default = 0)]
    pub padding: usize,
}

/// A frozen convolution with a bias.
#[derive(Module, Debug)]
pub struct Conv2d<B: Backend> {
    /// `[outputs, inputs, kernel, kernel]`
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`
    pub bias: Param<Tensor<B, 1>>,
    stride: usize,
    padding: usize,
}

impl Conv2dConfig {
    /// Kernel 3 that keeps the size.
    pub fn same3(inputs: usize, outputs: usize) -> Self {
        Self::new(inputs, outputs, 3).with_padding(1)
    }

    /// A convolution without weights yet.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Conv2d<B> {
        Conv2d {
            weight: frozen([self.outputs, self.inputs, self.kernel, self.kernel], device),
            bias: frozen([self.outputs], device),
            stride: self.stride,
            padding: self.padding,
        }
    }
}

impl<B: KernelBackend> Conv2d<B> {
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        ops::conv2d(x, self.weight.val(), self.bias.val(), self.stride, self.padding)
    }
}

/// Halves height and width by a convolution of stride 2.
#[derive(Module, Debug)]
pub struct Downsample<B: Backend> {
    conv: Conv2d<B>,
    /// VAE encoders pad only at the right and the bottom.
    one_sided: bool,
}

impl<B: KernelBackend> Downsample<B> {
    /// `one_sided` pads at the right and the bottom only, else on all sides.
    pub fn new(channels: usize, one_sided: bool, device: &B::Device) -> Self {
        let padding = if one_sided { 0 } else { 1 };
        let conv = Conv2dConfig::new(channels, channels, 3).with_stride(2).with_padding(padding);
        Self { conv: conv.init(device), one_sided }
    }

    /// # Shapes
    /// - x: `[batch, channels, height, width]`, output: half of height and width
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        self.conv.forward(if self.one_sided { x.pad_bottom_right(1) } else { x })
    }
}

/// Doubles height and width by repetition, followed by a convolution.
#[derive(Module, Debug)]
pub struct Upsample<B: Backend> {
    conv: Conv2d<B>,
}

impl<B: KernelBackend> Upsample<B> {
    /// Keeps the number of channels.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self { conv: Conv2dConfig::same3(channels, channels).init(device) }
    }

    /// # Shapes
    /// - x: `[batch, channels, height, width]`, output: twice height and width
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        self.conv.forward(x.upsample_nearest(2))
    }
}
