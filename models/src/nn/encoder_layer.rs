//! The transformer layer of CLIP's encoders and of vision transformers.

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

/// The sizes of an [`EncoderLayer`].
#[derive(Config, Debug)]
pub struct EncoderLayerConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Width between the two feed-forward layers.
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

/// The site names of the linear layers, relative to the encoder layer. They are the paths in the
/// checkpoint that the layer is loaded from.
#[derive(Debug, Clone, Copy)]
pub struct LayerNames {
    /// The query, key, value and output projections.
    pub attention: ProjectionNames,
    /// The first and the second feed-forward layer.
    pub feed_forward: [&'static str; 2],
}

impl LayerNames {
    /// The names of our fields, for models that carry no adapters.
    pub const FIELDS: Self = Self {
        attention: ["self_attn.to_q", "self_attn.to_k", "self_attn.to_v", "self_attn.to_out"],
        feed_forward: ["fc1", "fc2"],
    };
}

/// `h = x + attention(norm(x))`, then `h + W₂ f(W₁ norm(h) + b₁) + b₂`.
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
    /// A layer without weights; its linear layers are registered as sites under `names`.
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
        let [first, second] = names.feed_forward;
        EncoderLayer {
            self_attn: attention.init(scope, names.attention),
            layer_norm1: LayerNorm::new(width, self.epsilon, device),
            fc1: fc(scope, first, width, self.inner),
            fc2: fc(scope, second, self.inner, width),
            layer_norm2: LayerNorm::new(width, self.epsilon, device),
            activation: self.activation,
        }
    }
}

impl<B: KernelBackend> EncoderLayer<B> {
    /// Applies the layer.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, width]`
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
