//! The UNet's levels: down, middle, up.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::diffusion::Context;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;

use super::config::UNetConfig;
use super::transformer::{Transformer2d, TransformerConfig};
use crate::nn::{Downsample, Linear, ResnetBlock, ResnetConfig, Scope, Upsample};

/// What every block sees beside the image.
pub struct Conditions<'a, B: Backend> {
    /// The time embedding after its SiLU, `[batch, time_width]`.
    pub time: Dual<B, 2>,
    /// The encoded prompts.
    pub context: &'a Context<B>,
    /// The factors at each site.
    pub adapters: &'a DualAdapters<B>,
}

/// Residual blocks with attention after each (or without), then half the size (or not).
#[derive(Module, Debug)]
pub struct DownBlock<B: Backend> {
    attentions: Vec<Transformer2d<B>>,
    resnets: Vec<ResnetBlock<B>>,
    downsample: Option<Downsample<B>>,
}

/// A residual block, attention, a residual block.
#[derive(Module, Debug)]
pub struct MidBlock<B: Backend> {
    attentions: Vec<Transformer2d<B>>,
    resnets: Vec<ResnetBlock<B>>,
}

/// Like a [`DownBlock`], each residual block joined by one output of the way down.
#[derive(Module, Debug)]
pub struct UpBlock<B: Backend> {
    attentions: Vec<Transformer2d<B>>,
    resnets: Vec<ResnetBlock<B>>,
    upsample: Option<Upsample<B>>,
}

impl UNetConfig {
    fn resnet<B: KernelBackend>(
        &self,
        inputs: usize,
        outputs: usize,
        device: &B::Device,
    ) -> ResnetBlock<B> {
        ResnetConfig::new(inputs, outputs, self.norm_num_groups, self.norm_eps)
            .with_time_width(Some(self.time_width()))
            .init(device)
    }

    fn transformers<B: KernelBackend>(
        &self,
        count: usize,
        level: usize,
        scope: &mut Scope<B>,
        next_layer: &mut usize,
    ) -> Vec<Transformer2d<B>> {
        let config = TransformerConfig {
            channels: self.block_out_channels[level],
            context: self.cross_attention_dim,
            heads: self.heads(level),
            layers: self.transformer_layers_per_block.at(level),
            groups: self.norm_num_groups,
            linear_projection: self.use_linear_projection,
        };
        (0..count)
            .map(|i| config.init(&mut scope.at(format!("attentions.{i}")), next_layer))
            .collect()
    }
}

impl<B: KernelBackend> DownBlock<B> {
    /// Level `level` from fine to coarse.
    pub fn new(
        config: &UNetConfig,
        level: usize,
        scope: &mut Scope<B>,
        next_layer: &mut usize,
    ) -> Self {
        let outputs = config.block_out_channels[level];
        let before = config.block_out_channels[level.saturating_sub(1)];
        let layers = config.layers_per_block;
        let attentions =
            if config.down_block_types[level].starts_with("Cross") { layers } else { 0 };
        let last = level + 1 == config.block_out_channels.len();
        let inputs = |i| if i == 0 { before } else { outputs };
        Self {
            attentions: config.transformers(attentions, level, scope, next_layer),
            resnets: (0..layers).map(|i| config.resnet(inputs(i), outputs, scope.device)).collect(),
            downsample: (!last).then(|| Downsample::new(outputs, false, scope.device)),
        }
    }

    /// Pushes every intermediate image on `skips` for the way up.
    pub fn forward(
        &self,
        mut x: Dual<B, 4>,
        conditions: &Conditions<B>,
        skips: &mut Vec<Dual<B, 4>>,
    ) -> Dual<B, 4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(&conditions.time));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, conditions.context, conditions.adapters);
            }
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(x);
            skips.push(x.clone());
        }
        x
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attentions.iter().flat_map(Transformer2d::linears)
    }
}

impl<B: KernelBackend> MidBlock<B> {
    /// At the coarsest level.
    pub fn new(config: &UNetConfig, scope: &mut Scope<B>, next_layer: &mut usize) -> Self {
        let level = config.block_out_channels.len() - 1;
        let channels = config.block_out_channels[level];
        Self {
            attentions: config.transformers(1, level, scope, next_layer),
            resnets: (0..2).map(|_| config.resnet(channels, channels, scope.device)).collect(),
        }
    }

    /// # Shapes
    /// - x: `[batch, channels, height, width]`
    pub fn forward(&self, x: Dual<B, 4>, conditions: &Conditions<B>) -> Dual<B, 4> {
        let mut x = self.resnets[0].forward(x, Some(&conditions.time));
        for (attention, resnet) in self.attentions.iter().zip(&self.resnets[1..]) {
            x = attention.forward(x, conditions.context, conditions.adapters);
            x = resnet.forward(x, Some(&conditions.time));
        }
        x
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attentions.iter().flat_map(Transformer2d::linears)
    }
}

impl<B: KernelBackend> UpBlock<B> {
    /// Number `position` on the way up, from coarse to fine.
    pub fn new(
        config: &UNetConfig,
        position: usize,
        scope: &mut Scope<B>,
        next_layer: &mut usize,
    ) -> Self {
        let channels = &config.block_out_channels;
        let level = channels.len() - 1 - position;
        let outputs = channels[level];
        let coarser = channels[(level + 1).min(channels.len() - 1)];
        let finer = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block + 1;
        let attentions =
            if config.up_block_types[position].starts_with("Cross") { layers } else { 0 };
        let resnet = |i: usize| {
            let own = if i == 0 { coarser } else { outputs };
            let skip = if i + 1 == layers { finer } else { outputs };
            config.resnet(own + skip, outputs, scope.device)
        };
        Self {
            resnets: (0..layers).map(resnet).collect(),
            upsample: (level > 0).then(|| Upsample::new(outputs, scope.device)),
            attentions: config.transformers(attentions, level, scope, next_layer),
        }
    }

    /// Takes the images of the way down off `skips`, last one first.
    pub fn forward(
        &self,
        mut x: Dual<B, 4>,
        conditions: &Conditions<B>,
        skips: &mut Vec<Dual<B, 4>>,
    ) -> Dual<B, 4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("as many images as residual blocks on the way up");
            x = resnet.forward(x.cat(skip, 1), Some(&conditions.time));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, conditions.context, conditions.adapters);
            }
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(x),
            None => x,
        }
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attentions.iter().flat_map(Transformer2d::linears)
    }
}
