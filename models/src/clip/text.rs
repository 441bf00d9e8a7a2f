//! The text encoder: token and position embeddings, then causal transformer layers.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::adapter::{DualAdapters, Role};
use burn_seqlora::dual::Dual;
use burn_seqlora::text::{Context, TextBatch};
use seqlora_kernels::{KernelBackend, attention::AttentionMask};

use super::config::{Activation, ClipTextConfig};
use crate::nn::{Attention, AttentionConfig, Embedding, LayerNorm, Linear, LinearConfig, Scope};

/// Transformers' names of the four projections.
const PROJECTIONS: [&str; 4] =
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"];

/// The last hidden states of a prompt's tokens, after the final normalisation.
#[derive(Module, Debug)]
pub struct ClipTextModel<B: Backend> {
    token_embedding: Embedding<B>,
    position_embedding: Embedding<B>,
    layers: Vec<EncoderLayer<B>>,
    final_layer_norm: LayerNorm<B>,
}

#[derive(Module, Debug)]
struct EncoderLayer<B: Backend> {
    self_attn: Attention<B>,
    layer_norm1: LayerNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    layer_norm2: LayerNorm<B>,
    #[module(skip)]
    activation: Activation,
}

impl ClipTextConfig {
    /// An encoder without weights yet; its sites are registered through `scope`.
    pub fn init<B: KernelBackend>(&self, scope: &mut Scope<B>) -> ClipTextModel<B> {
        let (width, device) = (self.hidden_size, scope.device);
        ClipTextModel {
            token_embedding: Embedding::new(self.vocab_size, width, device),
            position_embedding: Embedding::new(self.max_position_embeddings, width, device),
            layers: (0..self.num_hidden_layers)
                .map(|i| {
                    let path = format!("text_model.encoder.layers.{i}");
                    EncoderLayer::new(self, &mut scope.at(path))
                })
                .collect(),
            final_layer_norm: LayerNorm::new(width, self.layer_norm_eps, device),
        }
    }
}

impl<B: KernelBackend> ClipTextModel<B> {
    /// Encodes prompts in which some positions are concepts' rows.
    pub fn encode(
        &self,
        batch: &TextBatch<B>,
        rows: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
    ) -> Context<B> {
        let [prompts, length] = batch.ids.dims();
        let mut embedded = self.token_embedding.forward(batch.ids.clone().reshape([-1]));
        if let (Some(gather), Some(rows)) = (&batch.gather, rows) {
            embedded = Tensor::cat(vec![embedded, rows.clone()], 0).select(0, gather.clone());
        }
        let width = embedded.dims()[1];
        let positions = self.position_embedding.weight.val().narrow(0, 0, length);
        let x = embedded.reshape([prompts, length, width]) + positions.unsqueeze::<3>();
        let x = self.layers.iter().fold(Dual::constant(x), |x, layer| layer.forward(x, adapters));
        Context::new(self.final_layer_norm.forward(x), batch.copies)
    }

    /// The base table's row of each token, `[tokens, width]`.
    pub fn embed(&self, ids: &[u32]) -> Tensor<B, 2> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let device = self.token_embedding.weight.val().device();
        self.token_embedding.forward(Tensor::from_data(ids.as_slice(), &device))
    }

    /// The width of a token's embedding.
    pub fn width(&self) -> usize {
        self.token_embedding.weight.shape().dims::<2>()[1]
    }
}

impl<B: KernelBackend> EncoderLayer<B> {
    fn new(config: &ClipTextConfig, scope: &mut Scope<B>) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |scope: &Scope<B>| LayerNorm::new(width, config.layer_norm_eps, scope.device);
        let attention = AttentionConfig::new(width, config.num_attention_heads).with_bias(true);
        let fc = |scope: &mut Scope<B>, name, inputs, outputs| {
            scope.site(name, Role::FeedForward, LinearConfig::new(inputs, outputs))
        };
        Self {
            self_attn: attention.init(scope, PROJECTIONS),
            layer_norm1: norm(scope),
            fc1: fc(scope, "mlp.fc1", width, inner),
            fc2: fc(scope, "mlp.fc2", inner, width),
            layer_norm2: norm(scope),
            activation: config.hidden_act,
        }
    }

    fn forward(&self, x: Dual<B, 3>, adapters: &DualAdapters<B>) -> Dual<B, 3> {
        let h = self.layer_norm1.forward(x.clone());
        let x = x + self.self_attn.forward(h, None, AttentionMask::Causal, adapters);
        let h = self.fc1.forward(self.layer_norm2.forward(x.clone()), adapters);
        let h = h.activate(self.activation.into());
        x + self.fc2.forward(h, adapters)
    }
}
