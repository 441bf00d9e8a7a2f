//! The transformer in which pixels attend to each other and to the prompt.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::diffusion::{Context, Source};
use seqlora_core::lora::{DualAdapters, Role, Traced};
use seqlora_kernels::KernelBackend;
use seqlora_kernels::attention::AttentionMask;

use crate::nn::{
    Attention, AttentionConfig, Conv2d, Conv2dConfig, FeedForward, GroupNorm, LayerNorm, Linear,
    LinearConfig, Scope,
};

/// Diffusers' names for the four projections.
const PROJECTIONS: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];

/// The sizes of a [`Transformer2d`].
#[derive(Config, Debug)]
pub struct TransformerConfig {
    /// Channels of the image.
    pub channels: usize,
    /// Width of the encoded prompt.
    pub context: usize,
    /// The number of heads.
    pub heads: usize,
    /// The number of blocks.
    pub layers: usize,
    /// Groups of the normalisation.
    pub groups: usize,
    /// Whether linear layers enclose the blocks, instead of 1×1 convolutions.
    pub linear_projection: bool,
}

/// Transformer blocks over the pixels of an image, whose output is added to the image.
#[derive(Module, Debug)]
pub struct Transformer2d<B: Backend> {
    norm: GroupNorm<B>,
    proj_in: Projection<B>,
    transformer_blocks: Vec<TransformerBlock<B>>,
    proj_out: Projection<B>,
}

/// A linear map of the channels: a 1×1 convolution in SD1, a linear layer in SD2. Both compute the
/// same, but the weights are stored in different shapes.
#[derive(Module, Debug)]
enum Projection<B: Backend> {
    Conv(Conv2d<B>),
    Linear(Linear<B>),
}

/// Self-attention, cross-attention and feed-forward layer, each with a normalisation before it and a
/// residual connection.
#[derive(Module, Debug)]
struct TransformerBlock<B: Backend> {
    norm1: LayerNorm<B>,
    attn1: Attention<B>,
    norm2: LayerNorm<B>,
    attn2: Attention<B>,
    norm3: LayerNorm<B>,
    ff: FeedForward<B>,
    /// The index of its cross-attention among those of the UNet, which selects the layer of the context.
    context_layer: usize,
}

impl TransformerConfig {
    /// A transformer without weights. `next_layer` counts the cross-attention layers of the UNet.
    pub fn init<B: KernelBackend>(
        &self,
        scope: &mut Scope<B>,
        next_layer: &mut usize,
    ) -> Transformer2d<B> {
        let projection = |scope: &mut Scope<B>, name| match self.linear_projection {
            true => Projection::Linear(scope.site(
                name,
                Role::FeedForward,
                LinearConfig::new(self.channels, self.channels),
            )),
            false => Projection::Conv(
                Conv2dConfig::new(self.channels, self.channels, 1).init(scope.device),
            ),
        };
        Transformer2d {
            norm: GroupNorm::new(self.groups, self.channels, 1e-6, scope.device),
            proj_in: projection(scope, "proj_in"),
            transformer_blocks: (0..self.layers)
                .map(|i| {
                    let path = format!("transformer_blocks.{i}");
                    let block = TransformerBlock::new(self, &mut scope.at(path), *next_layer);
                    *next_layer += 1;
                    block
                })
                .collect(),
            proj_out: projection(scope, "proj_out"),
        }
    }
}

impl<B: KernelBackend> Transformer2d<B> {
    /// Applies the transformer.
    ///
    /// # Shapes
    /// - x and output: `[batch, channels, height, width]`
    pub fn forward(
        &self,
        x: Dual<B, 4>,
        context: &Context<B>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4> {
        let [_, _, height, width] = x.dims();
        let blocks = self.transformer_blocks.iter();
        let sources = blocks.map(|block| context.sources(block.context_layer, [height, width]));
        let sources: Vec<Vec<Source<B>>> = sources.collect();
        let mut inputs = vec![Traced::from(x)];
        inputs.extend(sources.iter().flatten().flat_map(Source::traced));
        let sites = self.linears().filter_map(|linear| linear.site).collect();
        let this = self.clone();
        adapters.recomputed(inputs, sites, move |inputs, adapters| {
            let mut inputs = inputs.iter();
            let x = inputs.next().expect("an image").dual();
            let mut of_block = |sources: &Vec<Source<B>>| {
                sources.iter().map(|source| source.with_traced(&mut inputs)).collect()
            };
            let sources: Vec<_> = sources.iter().map(&mut of_block).collect();
            this.apply(x, sources, adapters)
        })
    }

    /// The same with what each block's cross-attention sees.
    fn apply(
        &self,
        x: Dual<B, 4>,
        sources: Vec<Vec<Source<B>>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4> {
        let [batch, channels, height, width] = x.dims();
        let to_tokens =
            |x: Dual<B, 4>| x.permute([0, 2, 3, 1]).reshape([batch, height * width, channels]);
        let to_image =
            |x: Dual<B, 3>| x.reshape([batch, height, width, channels]).permute([0, 3, 1, 2]);
        let h = self.norm.forward(x.clone());
        let mut h = match &self.proj_in {
            Projection::Conv(conv) => to_tokens(conv.forward(h, adapters)),
            Projection::Linear(linear) => linear.forward(to_tokens(h), adapters),
        };
        for (block, sources) in self.transformer_blocks.iter().zip(sources) {
            h = block.forward(h, sources, adapters);
        }
        let h = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(to_image(h), adapters),
            Projection::Linear(linear) => to_image(linear.forward(h, adapters)),
        };
        x + h
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        let projections = [&self.proj_in, &self.proj_out].into_iter();
        let projections = projections.filter_map(|projection| match projection {
            Projection::Linear(linear) => Some(linear),
            Projection::Conv(_) => None,
        });
        projections.chain(self.transformer_blocks.iter().flat_map(TransformerBlock::linears))
    }
}

impl<B: Backend> Transformer2d<B> {
    /// The cross-attention layers in their order.
    pub fn cross_attentions(&self) -> impl Iterator<Item = &Attention<B>> {
        self.transformer_blocks.iter().map(|block| &block.attn2)
    }
}

impl<B: KernelBackend> TransformerBlock<B> {
    fn new(config: &TransformerConfig, scope: &mut Scope<B>, context_layer: usize) -> Self {
        let TransformerConfig { channels, context, heads, .. } = *config;
        let norm = |scope: &Scope<B>| LayerNorm::new(channels, 1e-5, scope.device);
        let itself = AttentionConfig::new(channels, heads);
        let prompt = AttentionConfig::new(channels, heads).with_context(Some(context));
        Self {
            norm1: norm(scope),
            attn1: itself.init(&mut scope.at("attn1"), PROJECTIONS),
            norm2: norm(scope),
            attn2: prompt.init(&mut scope.at("attn2"), PROJECTIONS),
            norm3: norm(scope),
            ff: FeedForward::new(channels, &mut scope.at("ff")),
            context_layer,
        }
    }

    fn forward(
        &self,
        x: Dual<B, 3>,
        prompts: Vec<Source<B>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let mask = AttentionMask::Full;
        let x = x.clone() + self.attn1.forward(self.norm1.forward(x), None, mask, adapters);
        let h = self.norm2.forward(x.clone());
        let x = x + self.attn2.forward_shared(h, prompts, adapters);
        x.clone() + self.ff.forward(self.norm3.forward(x), adapters)
    }

    fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.attn1.linears().chain(self.attn2.linears()).chain(self.ff.linears())
    }
}
