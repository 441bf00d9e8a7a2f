//! CLIP's text tower as a text encoder of metrics.

use std::path::Path;

use burn::tensor::Tensor;
use seqlora_core::text::Piece;
use seqlora_eval::{MetricError, TextEncoder};
use seqlora_kernels::KernelBackend;
use seqlora_models::clip::ClipTextTower;
use seqlora_models::tokenizer::ClipTokenizer;
use seqlora_models::weights::ModelError;

use crate::vit_encoder::CHUNK;

/// A text tower and its tokenizer. Texts that are too long lose their end, as in CLIP's own tokenizer.
#[derive(Debug)]
pub struct ClipTextEncoder<B: KernelBackend> {
    tower: ClipTextTower<B>,
    tokenizer: ClipTokenizer,
}

impl<B: KernelBackend> ClipTextEncoder<B> {
    /// Loads a tower, and the tokenizer of a folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the tokenizer has tokens that the tower has no embedding for.
    pub fn load(weights: &Path, tokenizer: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let tower = ClipTextTower::load(weights, device)?;
        let words = ClipTokenizer::from_folder(tokenizer)?;
        let words = words.with_context_length(tower.context_length());
        let (id, token) = words.highest();
        if id as usize >= tower.vocabulary() {
            return Err(ModelError::Vocabulary {
                tokenizer: tokenizer.into(),
                token: token.into(),
                id,
                embeddings: tower.vocabulary(),
            });
        }
        Ok(Self { tower, tokenizer: words })
    }
}

impl<B: KernelBackend> TextEncoder<B> for ClipTextEncoder<B> {
    fn embed(&self, texts: &[String]) -> Result<Tensor<B, 2>, MetricError> {
        let ids = |text: &String| {
            let assembled = self.tokenizer.assemble(&[Piece::Text(text.clone())]);
            assembled.map(|tokens| tokens.ids).map_err(|e| MetricError::Other(e.into()))
        };
        let ids = texts.iter().map(ids).collect::<Result<Vec<_>, _>>()?;
        let eos = self.tokenizer.eos();
        let chunks = ids.chunks(CHUNK).map(|chunk| self.tower.embed(chunk, eos));
        Ok(Tensor::cat(chunks.collect(), 0))
    }
}
