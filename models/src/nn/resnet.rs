//! The residual block of the UNet and the VAE.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::{Conv2d, Conv2dConfig, GroupNorm, Linear, LinearConfig};

/// The sizes of a [`ResnetBlock`].
#[derive(Config, Debug)]
pub struct ResnetConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Width of the time embedding; `None` in a VAE.
    pub time_width: Option<usize>,
    /// Groups of the normalisations.
    pub groups: usize,
    /// ε of the normalisations.
    pub epsilon: f64,
}

/// `x + conv(silu(norm(conv(silu(norm(x))) + W time)))`, with a 1×1 convolution of x if the number of
/// channels changes.
#[derive(Module, Debug)]
pub struct ResnetBlock<B: Backend> {
    norm1: GroupNorm<B>,
    conv1: Conv2d<B>,
    time_emb_proj: Option<Linear<B>>,
    norm2: GroupNorm<B>,
    conv2: Conv2d<B>,
    conv_shortcut: Option<Conv2d<B>>,
}

impl ResnetConfig {
    /// A block without weights.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> ResnetBlock<B> {
        let Self { inputs, outputs, time_width, groups, epsilon } = *self;
        let time = |width| LinearConfig::new(width, outputs).init(device);
        ResnetBlock {
            norm1: GroupNorm::new(groups, inputs, epsilon, device),
            conv1: Conv2dConfig::same3(inputs, outputs).init(device),
            time_emb_proj: time_width.map(time),
            norm2: GroupNorm::new(groups, outputs, epsilon, device),
            conv2: Conv2dConfig::same3(outputs, outputs).init(device),
            conv_shortcut: (inputs != outputs)
                .then(|| Conv2dConfig::new(inputs, outputs, 1).init(device)),
        }
    }
}

impl<B: KernelBackend> ResnetBlock<B> {
    /// Applies the block.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`, output: `[batch, outputs, height, width]`
    /// - time: `[batch, time_width]`, the time embedding after its SiLU
    pub fn forward(
        &self,
        x: Dual<B, 4>,
        time: Option<&Dual<B, 2>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4> {
        let mut h = self.conv1.forward(self.norm1.forward(x.clone()).silu(), adapters);
        if let (Some(proj), Some(time)) = (&self.time_emb_proj, time) {
            let [batch, channels, _, _] = h.dims();
            let shift = proj.forward(time.clone(), adapters);
            h = h.add_broadcast(shift.reshape([batch, channels, 1, 1]));
        }
        let h = self.conv2.forward(self.norm2.forward(h).silu(), adapters);
        match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x, adapters) + h,
            None => x + h,
        }
    }
}
