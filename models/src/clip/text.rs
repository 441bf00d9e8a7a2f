//! The text encoder: token and position embeddings, followed by causal transformer layers.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::diffusion::Context;
use seqlora_core::lora::DualAdapters;
use seqlora_core::text::TextBatch;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::attention::AttentionMask;

use super::config::ClipTextConfig;
use crate::nn::{
    Embedding, EncoderLayer, EncoderLayerConfig, LayerNames, LayerNorm, Linear, Scope,
};

/// Transformers' names for the linear layers of an encoder layer.
const SITES: LayerNames = LayerNames {
    attention: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"],
    feed_forward: ["mlp.fc1", "mlp.fc2"],
};

/// CLIP's text encoder. Its output are the last hidden states after the final normalisation.
#[derive(Module, Debug)]
pub struct ClipTextModel<B: Backend> {
    token_embedding: Embedding<B>,
    position_embedding: Embedding<B>,
    layers: Vec<EncoderLayer<B>>,
    final_layer_norm: LayerNorm<B>,
}

impl ClipTextConfig {
    /// An encoder without weights; its linear layers are registered as sites in `scope`.
    pub fn init<B: KernelBackend>(&self, scope: &mut Scope<B>) -> ClipTextModel<B> {
        let (width, device) = (self.hidden_size, scope.device);
        let layer = EncoderLayerConfig::new(
            width,
            self.intermediate_size,
            self.num_attention_heads,
            true,
            self.hidden_act,
            self.layer_norm_eps,
        );
        ClipTextModel {
            token_embedding: Embedding::new(self.vocab_size, width, device),
            position_embedding: Embedding::new(self.max_position_embeddings, width, device),
            layers: (0..self.num_hidden_layers)
                .map(|i| {
                    let path = format!("text_model.encoder.layers.{i}");
                    layer.init(&mut scope.at(path), SITES)
                })
                .collect(),
            final_layer_norm: LayerNorm::new(width, self.layer_norm_eps, device),
        }
    }
}

impl<B: KernelBackend> ClipTextModel<B> {
    /// Encodes prompts. `token_embeddings` replace the table's embeddings at the positions of concepts'
    /// words.
    ///
    /// # Shapes
    /// - token_embeddings: `[words, width]`
    /// - output: `[prompts, tokens, width]`
    pub fn encode(
        &self,
        batch: &TextBatch<B>,
        token_embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
    ) -> Context<B> {
        self.encode_until(batch, token_embeddings, adapters, self.layers.len())
    }

    /// The same by the first `layers` layers, followed by the final normalisation.
    ///
    /// # Panics
    /// If there are fewer layers.
    pub fn encode_until(
        &self,
        batch: &TextBatch<B>,
        token_embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
        layers: usize,
    ) -> Context<B> {
        let [prompts, length] = batch.ids.dims();
        let mut embedded = self.token_embedding.forward(batch.ids.clone().reshape([-1]));
        if let (Some(gather), Some(words)) = (&batch.gather, token_embeddings) {
            embedded = Tensor::cat(vec![embedded, words.clone()], 0).select(0, gather.clone());
        }
        let width = embedded.dims()[1];
        let positions = self.position_embedding.weight.val().narrow(0, 0, length);
        let x = embedded.reshape([prompts, length, width]) + positions.unsqueeze::<3>();
        let x = self.layers[..layers].iter().fold(Dual::constant(x), |x, layer| {
            let sites = layer.linears().filter_map(|linear| linear.site).collect();
            let layer = layer.clone();
            adapters.recomputed(vec![x.into()], sites, move |x, adapters| {
                layer.forward(x[0].dual(), AttentionMask::Causal, None, adapters)
            })
        });
        Context::new(self.final_layer_norm.forward(x), batch.copies)
    }

    /// The embedding of each token in the base model's table: `[tokens, width]`.
    pub fn embed(&self, ids: &[u32]) -> Tensor<B, 2> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let device = self.token_embedding.weight.val().device();
        self.token_embedding.forward(Tensor::from_data(ids.as_slice(), &device))
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The width of a token embedding.
    pub fn width(&self) -> usize {
        self.token_embedding.weight.shape().dims::<2>()[1]
    }

    /// The largest number of tokens in a prompt.
    pub fn context_length(&self) -> usize {
        self.position_embedding.weight.shape().dims::<2>()[0]
    }

    /// The number of tokens in its table.
    pub fn vocabulary(&self) -> usize {
        self.token_embedding.weight.shape().dims::<2>()[0]
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.layers.iter().flat_map(EncoderLayer::linears)
    }
}
