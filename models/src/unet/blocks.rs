//! The UNet's down, middle and up blocks.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::diffusion::Context;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;

use super::config::UNetConfig;
use super::transformer::{Transformer2d, TransformerConfig};
use crate::nn::{Downsample, Linear, ResnetBlock, ResnetConfig, Scope, Upsample};

/// The inputs of every block in addition to the image.
pub struct Conditions<'a, B: Backend> {
    /// The time embedding after its SiLU, `[batch, time_width]`.
    pub time: Dual<B, 2>,
    /// The encoded prompts.
    pub context: &'a Context<B>,
    /// The adapter of each site.
    pub adapters: &'a DualAdapters<B>,
}

impl<B: KernelBackend> Conditions<'_, B> {
    fn resnet(&self, block: &ResnetBlock<B>, x: Dual<B, 4>) -> Dual<B, 4> {
        block.forward(x, Some(&self.time), self.adapters)
    }

    /// An image that several blocks take, which may be on different parts of the tape.
    fn shared(&self, x: Dual<B, 4>) -> Dual<B, 4> {
        self.adapters.cut_together(vec![x]).remove(0)
    }
}

/// Residual blocks, each followed by attention at levels that have it, and a downsampling except at
/// the last level.
#[derive(Module, Debug)]
pub struct DownBlock<B: Backend> {
    attentions: Vec<Transformer2d<B>>,
    resnets: Vec<ResnetBlock<B>>,
    downsample: Option<Downsample<B>>,
}

/// A residual block, attention, and another residual block.
#[derive(Module, Debug)]
pub struct MidBlock<B: Backend> {
    attentions: Vec<Transformer2d<B>>,
    resnets: Vec<ResnetBlock<B>>,
}

/// Residual blocks, each of which also gets one output of the down blocks and is followed by attention
/// at levels that have it, and an upsampling except at the last level.
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

impl<B: Backend> DownBlock<B> {
    /// The transformers in the order in which data pass them.
    pub fn transformers(&self) -> &[Transformer2d<B>] {
        &self.attentions
    }
}

impl<B: Backend> MidBlock<B> {
    /// The transformers in the order in which data pass them.
    pub fn transformers(&self) -> &[Transformer2d<B>] {
        &self.attentions
    }
}

impl<B: Backend> UpBlock<B> {
    /// The transformers in the order in which data pass them.
    pub fn transformers(&self) -> &[Transformer2d<B>] {
        &self.attentions
    }
}

impl<B: KernelBackend> DownBlock<B> {
    /// The down block of a level, counted from fine to coarse, without weights. `next_layer` counts the
    /// cross-attention layers of the UNet.
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

    /// Applies the block, and pushes every intermediate output on `skips` for the up blocks.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height', width']`, half the size if the block downsamples
    pub fn forward(
        &self,
        mut x: Dual<B, 4>,
        conditions: &Conditions<B>,
        skips: &mut Vec<Dual<B, 4>>,
    ) -> Dual<B, 4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = conditions.resnet(resnet, x);
            x = match self.attentions.get(i) {
                Some(attention) => attention.forward(x, conditions.context, conditions.adapters),
                None => conditions.shared(x),
            };
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = conditions.shared(downsample.forward(x, conditions.adapters));
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
    /// The block at the coarsest level, without weights.
    pub fn new(config: &UNetConfig, scope: &mut Scope<B>, next_layer: &mut usize) -> Self {
        let level = config.block_out_channels.len() - 1;
        let channels = config.block_out_channels[level];
        Self {
            attentions: config.transformers(1, level, scope, next_layer),
            resnets: (0..2).map(|_| config.resnet(channels, channels, scope.device)).collect(),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - x and output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Dual<B, 4>, conditions: &Conditions<B>) -> Dual<B, 4> {
        let mut x = conditions.resnet(&self.resnets[0], x);
        for (attention, resnet) in self.attentions.iter().zip(&self.resnets[1..]) {
            x = attention.forward(x, conditions.context, conditions.adapters);
            x = conditions.resnet(resnet, x);
        }
        x
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attentions.iter().flat_map(Transformer2d::linears)
    }
}

impl<B: KernelBackend> UpBlock<B> {
    /// The up block number `position`, counted from coarse to fine, without weights.
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

    /// Applies the block, and pops one output of the down blocks off `skips` for each residual block.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height', width']`, twice the size if the block upsamples
    pub fn forward(
        &self,
        mut x: Dual<B, 4>,
        conditions: &Conditions<B>,
        skips: &mut Vec<Dual<B, 4>>,
    ) -> Dual<B, 4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("one output of the down blocks per residual block");
            x = conditions.resnet(resnet, x.cat(skip, 1));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, conditions.context, conditions.adapters);
            }
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(x, conditions.adapters),
            None => x,
        }
    }

    /// The linear layers of its transformers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attentions.iter().flat_map(Transformer2d::linears)
    }
}
