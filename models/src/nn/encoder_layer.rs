//! The layer that CLIP's towers and vision transformers are stacks of.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::lora::{DualAdapters, Role};
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{DualOps, KernelBackend};

use super::attention::ProjectionNames;
use super::{Attention, AttentionConfig, LayerNorm, Linear, LinearConfig, Scope};
use crate::weights::Activation;

/// Sizes of an [`EncoderLayer`].
#[derive(Config, Debug)]
pub struct EncoderLayerConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Width inside the feed-forward layers.
    pub inner: usize,
    /// The number of heads.
    pub heads: usize,
    /// Whether query, key and value have biases.
    pub bias: bool,
    /// The feed-forward layers' activation.
    pub activation: Activation,
    /// ε of the normalisations.
    pub epsilon: f64,
}

/// What a layer's linear layers are called as sites: their paths in the checkpoint it comes from.
#[derive(Debug, Clone, Copy)]
pub struct LayerNames {
    /// Query, key, value and output.
    pub attention: ProjectionNames,
    /// Into the feed-forward layers and out of them.
    pub feed_forward: [&'static str; 2],
}

impl LayerNames {
    /// Our fields' own names, for models that are no base of adapters.
    pub const FIELDS: Self = Self {
        attention: ["self_attn.to_q", "self_attn.to_k", "self_attn.to_v", "self_attn.to_out"],
        feed_forward: ["fc1", "fc2"],
    };
}

/// `x + attention(norm(x))`, then `x + W₂ f(W₁ norm(x))`.
#[derive(Module, Debug)]
pub struct EncoderLayer<B: Backend> {
    self_attn: Attention<B>,
    layer_norm1: LayerNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    layer_norm2: LayerNorm<B>,
    #[module(skip)]
    activation: Activation,
}

impl EncoderLayerConfig {
    /// A layer without weights yet.
    pub fn init<B: KernelBackend>(
        &self,
        scope: &mut Scope<B>,
        names: LayerNames,
    ) -> EncoderLayer<B> {
        let (width, device) = (self.width, scope.device);
        let attention = AttentionConfig::new(width, self.heads).with_bias(self.bias);
        let fc = |scope: &mut Scope<B>, name, inputs, outputs| {
            scope.site(name, Role::FeedForward, LinearConfig::new(inputs, outputs))
        };
        let [into, out_of] = names.feed_forward;
        EncoderLayer {
            self_attn: attention.init(scope, names.attention),
            layer_norm1: LayerNorm::new(width, self.epsilon, device),
            fc1: fc(scope, into, width, self.inner),
            fc2: fc(scope, out_of, self.inner, width),
            layer_norm2: LayerNorm::new(width, self.epsilon, device),
            activation: self.activation,
        }
    }
}

impl<B: KernelBackend> EncoderLayer<B> {
    /// # Shapes
    /// - x: `[batch, tokens, width]`
    pub fn forward(
        &self,
        x: Dual<B, 3>,
        mask: AttentionMask,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let h = self.layer_norm1.forward(x.clone());
        let x = x + self.self_attn.forward(h, None, mask, adapters);
        let h = self.fc1.forward(self.layer_norm2.forward(x.clone()), adapters);
        x + self.fc2.forward(h.activate(self.activation.into()), adapters)
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.self_attn.linears().chain([&self.fc1, &self.fc2])
    }
}
