//! The levels of the encoder and the decoder.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{KernelBackend, ops};

use super::config::VaeConfig;
use crate::nn::{Downsample, GroupNorm, Linear, LinearConfig, ResnetBlock, ResnetConfig, Upsample};

/// ε of every normalisation in a VAE.
pub(super) const EPSILON: f64 = 1e-6;

/// Residual blocks, followed by a change of size except at the last level.
#[derive(Module, Debug)]
pub struct VaeLevel<B: Backend> {
    resnets: Vec<ResnetBlock<B>>,
    downsample: Option<Downsample<B>>,
    upsample: Option<Upsample<B>>,
}

/// A residual block, attention over all pixels, and another residual block.
#[derive(Module, Debug)]
pub struct MidBlock<B: Backend> {
    attentions: Vec<PixelAttention<B>>,
    resnets: Vec<ResnetBlock<B>>,
}

/// Self-attention over the pixels with one head, added to its input.
#[derive(Module, Debug)]
struct PixelAttention<B: Backend> {
    group_norm: GroupNorm<B>,
    to_q: Linear<B>,
    to_k: Linear<B>,
    to_v: Linear<B>,
    to_out: Linear<B>,
}

fn resnet<B: KernelBackend>(
    config: &VaeConfig,
    inputs: usize,
    outputs: usize,
    device: &B::Device,
) -> ResnetBlock<B> {
    ResnetConfig::new(inputs, outputs, config.norm_num_groups, EPSILON).init(device)
}

impl<B: KernelBackend> VaeLevel<B> {
    /// The encoder's level `level`, counted from fine to coarse, without weights.
    pub fn down(config: &VaeConfig, level: usize, device: &B::Device) -> Self {
        let channels = &config.block_out_channels;
        let (before, outputs) = (channels[level.saturating_sub(1)], channels[level]);
        let last = level + 1 == channels.len();
        Self {
            resnets: Self::stack(config, before, outputs, config.layers_per_block, device),
            downsample: (!last).then(|| Downsample::new(outputs, true, device)),
            upsample: None,
        }
    }

    /// The decoder's level `level`, also counted from fine to coarse, without weights.
    pub fn up(config: &VaeConfig, level: usize, device: &B::Device) -> Self {
        let channels = &config.block_out_channels;
        let (before, outputs) = (channels[(level + 1).min(channels.len() - 1)], channels[level]);
        Self {
            resnets: Self::stack(config, before, outputs, config.layers_per_block + 1, device),
            downsample: None,
            upsample: (level > 0).then(|| Upsample::new(outputs, device)),
        }
    }

    fn stack(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        count: usize,
        device: &B::Device,
    ) -> Vec<ResnetBlock<B>> {
        let block = |i| resnet(config, if i == 0 { inputs } else { outputs }, outputs, device);
        (0..count).map(block).collect()
    }

    /// Applies the level.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height', width']`, half or twice the size if the level changes it
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        let none = DualAdapters::none();
        let x = self.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None, &none));
        match (&self.downsample, &self.upsample) {
            (Some(downsample), _) => downsample.forward(x, &none),
            (_, Some(upsample)) => upsample.forward(x, &none),
            _ => x,
        }
    }
}

impl<B: KernelBackend> MidBlock<B> {
    /// The block at the coarsest level, without weights.
    pub fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let channels = *config.block_out_channels.last().expect("a VAE has levels");
        let linear = || LinearConfig::new(channels, channels).init(device);
        Self {
            attentions: vec![PixelAttention {
                group_norm: GroupNorm::new(config.norm_num_groups, channels, EPSILON, device),
                to_q: linear(),
                to_k: linear(),
                to_v: linear(),
                to_out: linear(),
            }],
            resnets: (0..2).map(|_| resnet(config, channels, channels, device)).collect(),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - x and output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        let none = DualAdapters::none();
        let mut x = self.resnets[0].forward(x, None, &none);
        for (attention, resnet) in self.attentions.iter().zip(&self.resnets[1..]) {
            x = resnet.forward(attention.forward(x), None, &none);
        }
        x
    }
}

impl<B: KernelBackend> PixelAttention<B> {
    fn forward(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        let shape @ [batch, channels, height, width] = x.dims();
        let none = DualAdapters::none();
        let h = self.group_norm.forward(x.clone());
        let h = h.reshape([batch, channels, height * width]).swap_dims(1, 2);
        let [q, k, v] =
            [&self.to_q, &self.to_k, &self.to_v].map(|linear| linear.forward(h.clone(), &none));
        let h = self.to_out.forward(ops::attention(q, k, v, 1, AttentionMask::Full), &none);
        x + h.swap_dims(1, 2).reshape(shape)
    }
}
