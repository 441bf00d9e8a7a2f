//! Prompts as tensors, ready for the text encoder.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::vocabulary::{Tokens, Vocabulary, WordEmbeddings};

/// Prompts ready for the text encoder: `copies` of each, one after the other.
#[derive(Debug, Clone)]
pub struct TextBatch<B: Backend> {
    /// `[prompts × copies, length]`
    pub ids: Tensor<B, 2, Int>,
    /// For each position, where its embedding lies in the concatenation of the embedded ids
    /// (flattened) and the concepts' own embeddings; `None` if no concept is mentioned.
    pub gather: Option<Tensor<B, 1, Int>>,
    /// How often each prompt is encoded.
    pub copies: usize,
    /// The positions of concepts' words in each prompt.
    pub words: Vec<Vec<usize>>,
}

impl<B: Backend> TextBatch<B> {
    /// Lays out prompts for a model with `layers` cross-attention layers.
    pub fn new(
        prompts: &[Tokens],
        vocabulary: &Vocabulary,
        layers: usize,
        device: &B::Device,
    ) -> Self {
        let copies = vocabulary.copies(prompts, layers);
        let length = prompts.first().map_or(0, |p| p.ids.len());
        let positions = prompts.len() * copies * length;
        let mut ids = Vec::with_capacity(positions);
        let mut gather: Vec<i32> = (0..positions as i32).collect();
        for (number, prompt) in prompts.iter().enumerate() {
            for copy in 0..copies {
                ids.extend(prompt.ids.iter().map(|id| *id as i32));
                for (position, word) in &prompt.words {
                    let WordEmbeddings { first, count } = vocabulary.word(*word);
                    let own = first + if count > 1 { copy } else { 0 };
                    let flat = (number * copies + copy) * length + position;
                    gather[flat] = (positions + own) as i32;
                }
            }
        }
        let of_words = |p: &Tokens| p.words.iter().map(|(position, _)| *position).collect();
        let mentions_concepts = prompts.iter().any(|p| !p.words.is_empty());
        let shape = [prompts.len() * copies, length];
        Self {
            ids: Tensor::from_data(TensorData::new(ids, shape), device),
            gather: mentions_concepts
                .then(|| Tensor::from_data(TensorData::new(gather, [positions]), device)),
            copies,
            words: prompts.iter().map(of_words).collect(),
        }
    }
}
