//! The transformer layer of CLIP's encoders and of vision transformers.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::{DualAdapters, Role};
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{DualOps, KernelBackend};

use super::attention::ProjectionNames;
use super::{Attention, AttentionConfig, LayerNorm, Linear, LinearConfig, Rotary, Scope, frozen};
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
    /// Whether the key has a bias, if query and value have one.
    #[config(default = true)]
    pub key_bias: bool,
    /// Whether the activated half of the feed-forward layer gates another one (SwiGLU).
    #[config(default = false)]
    pub gated: bool,
    /// Whether the outputs of both parts are scaled channel by channel (LayerScale,
    /// [arXiv 2103.17239](https://arxiv.org/abs/2103.17239)).
    #[config(default = false)]
    pub layer_scale: bool,
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

/// `h = x + s₁ attention(norm(x))`, then `h + s₂ (W₂ f(W₁ norm(h) + b₁) + b₂)`. If it is gated, f is
/// `act(G z + g) ∘ (W₁ z + b₁)`.
#[derive(Module, Debug)]
pub struct EncoderLayer<B: Backend> {
    self_attn: Attention<B>,
    layer_norm1: LayerNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    fc_gate: Option<Linear<B>>,
    /// `[width]`
    layer_scale1: Option<Param<Tensor<B, 1>>>,
    /// `[width]`
    layer_scale2: Option<Param<Tensor<B, 1>>>,
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
        let attention = AttentionConfig::new(width, self.heads)
            .with_bias(self.bias)
            .with_key_bias(self.key_bias);
        let fc = |scope: &mut Scope<B>, name, inputs, outputs| {
            scope.site(name, Role::FeedForward, LinearConfig::new(inputs, outputs))
        };
        let [first, second] = names.feed_forward;
        let scale = || self.layer_scale.then(|| frozen([width], device));
        EncoderLayer {
            self_attn: attention.init(scope, names.attention),
            layer_norm1: LayerNorm::new(width, self.epsilon, device),
            fc1: fc(scope, first, width, self.inner),
            fc2: fc(scope, second, self.inner, width),
            fc_gate: self.gated.then(|| fc(scope, "fc_gate", width, self.inner)),
            layer_scale1: scale(),
            layer_scale2: scale(),
            layer_norm2: LayerNorm::new(width, self.epsilon, device),
            activation: self.activation,
        }
    }
}

impl<B: KernelBackend> EncoderLayer<B> {
    /// Applies the layer, with queries and keys turned by `rotary` if there is one, which attends to all
    /// tokens.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, width]`
    pub fn forward(
        &self,
        x: Dual<B, 3>,
        mask: AttentionMask,
        rotary: Option<&Rotary<B>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let h = self.layer_norm1.forward(x.clone());
        let h = match rotary {
            Some(rotary) => self.self_attn.forward_rotated(h, rotary, adapters),
            None => self.self_attn.forward(h, None, mask, adapters),
        };
        let x = x + scaled(h, self.layer_scale1.as_ref());
        let h = self.layer_norm2.forward(x.clone());
        let activation = self.activation.into();
        let h = match &self.fc_gate {
            Some(gate) => {
                let gate = gate.forward(h.clone(), adapters).activate(activation);
                gate * self.fc1.forward(h, adapters)
            }
            None => self.fc1.forward(h, adapters).activate(activation),
        };
        x + scaled(self.fc2.forward(h, adapters), self.layer_scale2.as_ref())
    }

    /// The layer with `delta` added to the weights of queries, keys and values, one below the other.
    ///
    /// # Shapes
    /// - delta: `[3 · width, width]`
    pub fn with_projections_changed(self, delta: Tensor<B, 2>) -> Self {
        Self { self_attn: self.self_attn.with_projections_changed(delta), ..self }
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.self_attn.linears().chain([&self.fc1, &self.fc2]).chain(&self.fc_gate)
    }
}

/// Each channel times its factor, if there are factors.
fn scaled<B: KernelBackend>(x: Dual<B, 3>, factors: Option<&Param<Tensor<B, 1>>>) -> Dual<B, 3> {
    match factors {
        Some(factors) => x.mul_constant(factors.val().reshape([1, 1, -1])),
        None => x,
    }
}
