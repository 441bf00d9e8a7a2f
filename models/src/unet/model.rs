//! The UNet: down, middle and up blocks between two convolutions.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::diffusion::{Conditioning, Context};
use seqlora_core::lora::DualAdapters;
use seqlora_core::model::Denoiser;
use seqlora_kernels::{DualOps, KernelBackend};

use super::blocks::{Conditions, DownBlock, MidBlock, UpBlock};
use super::config::UNetConfig;
use super::transformer::Transformer2d;
use crate::nn::{
    Attention, Conv2d, Conv2dConfig, Frequency, GroupNorm, Linear, Scope, TimestepEmbedding,
};

/// Predicts the noise or the velocity of noisy latents, given the timestep and the prompt.
#[derive(Module, Debug)]
pub struct UNet<B: Backend> {
    conv_in: Conv2d<B>,
    time_embedding: TimestepEmbedding<B>,
    down_blocks: Vec<DownBlock<B>>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<UpBlock<B>>,
    conv_norm_out: GroupNorm<B>,
    conv_out: Conv2d<B>,
    cross_attention_layers: usize,
}

/// From this level on, counted from the finest, low memory keeps the activations of transformers, as it does those of all residual
/// blocks. Transformers of each level take about as long, and have half of the numbers of the level before: those of Stable Diffusion's
/// third and fourth are a sixth of all.
pub(crate) const COARSE: usize = 2;

impl UNetConfig {
    /// A network without weights. Its linear layers are registered as sites in `scope`, and its
    /// cross-attention layers are numbered in the order down, middle, up.
    pub fn init<B: KernelBackend>(&self, scope: &mut Scope<B>) -> UNet<B> {
        let levels = self.block_out_channels.len();
        let (first, device) = (self.block_out_channels[0], scope.device);
        let frequency = Frequency {
            channels: first,
            flip_sin_to_cos: self.flip_sin_to_cos,
            shift: self.freq_shift,
        };
        let mut layer = 0;
        let down_blocks = (0..levels)
            .map(|i| DownBlock::new(self, i, &mut scope.at(format!("down_blocks.{i}")), &mut layer))
            .collect();
        let mid_block = MidBlock::new(self, &mut scope.at("mid_block"), &mut layer);
        let up_blocks = (0..levels)
            .map(|i| UpBlock::new(self, i, &mut scope.at(format!("up_blocks.{i}")), &mut layer))
            .collect();
        UNet {
            conv_in: Conv2dConfig::same3(self.in_channels, first).init(device),
            time_embedding: TimestepEmbedding::new(frequency, device),
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(self.norm_num_groups, first, self.norm_eps, device),
            conv_out: Conv2dConfig::same3(first, self.out_channels).init(device),
            cross_attention_layers: layer,
        }
    }
}

impl<B: KernelBackend> UNet<B> {
    /// The prediction, and the output of the middle block.
    ///
    /// # Shapes
    /// - noisy, prediction: `[batch, channels, height, width]`
    /// - timesteps: `[batch]`
    /// - middle: `[batch, middle width, height / 2^(levels − 1), width / 2^(levels − 1)]`
    pub fn forward(
        &self,
        noisy: Dual<B, 4>,
        timesteps: Tensor<B, 1>,
        context: &Context<B>,
        adapters: &DualAdapters<B>,
    ) -> (Dual<B, 4>, Dual<B, 4>) {
        let time = self.time_embedding.forward(timesteps, adapters).silu();
        let coarse = adapters.keeping_activations();
        let conditions = |level: usize| Conditions {
            time: time.clone(),
            context,
            adapters: if level < COARSE { adapters } else { &coarse },
        };
        let mut x = self.conv_in.forward(noisy, adapters);
        let mut skips = vec![x.clone()];
        for (level, block) in self.down_blocks.iter().enumerate() {
            x = block.forward(x, &conditions(level), &mut skips);
        }
        let last = self.down_blocks.len() - 1;
        let middle = self.mid_block.forward(x, &conditions(last));
        let mut x = middle.clone();
        for (position, block) in self.up_blocks.iter().enumerate() {
            x = block.forward(x, &conditions(last - position), &mut skips);
        }
        (self.conv_out.forward(self.conv_norm_out.forward(x).silu(), adapters), middle)
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        let down = self.down_blocks.iter().flat_map(DownBlock::linears);
        let up = self.up_blocks.iter().flat_map(UpBlock::linears);
        down.chain(self.mid_block.linears()).chain(up)
    }
}

impl<B: Backend> UNet<B> {
    /// The cross-attention layers in their order: down, middle, up.
    fn cross_attentions(&self) -> Vec<&Attention<B>> {
        let down = self.down_blocks.iter().map(|block| block.transformers());
        let up = self.up_blocks.iter().map(|block| block.transformers());
        let all = down.chain([self.mid_block.transformers()]).chain(up);
        all.flatten().flat_map(Transformer2d::cross_attentions).collect()
    }
}

impl<B: KernelBackend> Denoiser<B> for UNet<B> {
    fn prepare(
        &self,
        conditioning: Conditioning<B>,
        adapters: &DualAdapters<B>,
    ) -> Conditioning<B> {
        let attentions = self.cross_attentions();
        let project = |layer: usize, states| attentions[layer].project(states, adapters);
        conditioning.context.with_projections(attentions.len(), &project).into()
    }

    fn predict(
        &self,
        noisy: Dual<B, 4>,
        timesteps: Tensor<B, 1>,
        conditioning: &Conditioning<B>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4> {
        self.forward(noisy, timesteps, &conditioning.context, adapters).0
    }

    fn cross_attention_layers(&self) -> usize {
        self.cross_attention_layers
    }
}
