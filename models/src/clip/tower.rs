//! CLIP's text tower: the text encoder, and the projection into the space of images.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_core::text::TextBatch;
use seqlora_kernels::KernelBackend;

use super::config::ClipTextConfig;
use super::text::ClipTextModel;
use crate::nn::{Linear, LinearConfig, Scope};
use crate::weights::encoders::FoundTextTower;
use crate::weights::{ModelError, load_weights};

/// The text half of CLIP ([arXiv 2103.00020](https://arxiv.org/abs/2103.00020)), also OpenCLIP's: what
/// stands for a text is the projected state of its first end token.
#[derive(Module, Debug)]
pub struct ClipTextTower<B: Backend> {
    encoder: ClipTextModel<B>,
    projection: Linear<B>,
}

impl ClipTextConfig {
    /// A tower without weights and without sites, whose output has `projection` channels.
    pub fn init_tower<B: KernelBackend>(
        &self,
        projection: usize,
        device: &B::Device,
    ) -> ClipTextTower<B> {
        let projection = LinearConfig::new(self.hidden_size, projection).with_bias(false);
        ClipTextTower {
            encoder: self.init(&mut Scope::without_sites(device)),
            projection: projection.init(device),
        }
    }
}

impl<B: KernelBackend> ClipTextTower<B> {
    /// Loads a folder or a file of weights in any layout that
    /// [`weights::encoders`](crate::weights::encoders) knows.
    ///
    /// # Errors
    /// If a file is missing or damaged, or does not fit its config.
    pub fn load(path: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let FoundTextTower { config, projection, files, layout } = FoundTextTower::find(path)?;
        load_weights(config.init_tower(projection, device), &files, &layout)
    }

    /// The largest number of tokens in a text.
    pub fn context_length(&self) -> usize {
        self.encoder.context_length()
    }

    /// The number of tokens that have an embedding.
    pub fn vocabulary(&self) -> usize {
        self.encoder.vocabulary()
    }

    /// Embeds texts of token ids, all of one length: `[texts, outputs]`. The first `eos` of each is
    /// looked for here and not on the device, and not as the largest id: tokens that were added have
    /// larger ones. What follows it does not matter, as attention is causal.
    ///
    /// # Panics
    /// If there are no texts, their lengths differ or are larger than
    /// [`context_length`](Self::context_length), an id has no embedding, or a text has no `eos`.
    pub fn embed(&self, texts: &[Vec<u32>], eos: u32) -> Tensor<B, 2> {
        let length = texts.first().expect("at least one text").len();
        assert!(length <= self.context_length(), "a text of {length} tokens is too long");
        let mut ends = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(text.len(), length, "texts of one length");
            let known = text.iter().all(|id| (*id as usize) < self.vocabulary());
            assert!(known, "an id of text {number} has no embedding");
            let end = text.iter().position(|id| *id == eos).expect("a text has an end");
            ends.push((number * length + end) as i32);
        }
        let device = self.projection.weight.device();
        let ids: Vec<i32> = texts.iter().flatten().map(|id| *id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [texts.len(), length]), &device);
        let words = vec![Vec::new(); texts.len()];
        let batch = TextBatch { ids, gather: None, copies: 1, words };
        let none = DualAdapters::none();
        let states = self.encoder.encode(&batch, None, &none).layer(0).primal;
        let [prompts, length, width] = states.dims();
        let ends = Tensor::<B, 1, Int>::from_data(ends.as_slice(), &device);
        let ends = states.reshape([prompts * length, width]).select(0, ends);
        self.projection.forward(Dual::constant(ends), &none).primal
    }
}
