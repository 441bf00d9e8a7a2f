//! Where the image attends to some words of its prompt: probabilities of cross-attention, collected while a
//! model runs.

use seqlora_kernels::matmul::{MatMul, Times};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, FloatDType, Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;

/// The maps of one evaluation, with their tangents, on the tape.
///
/// Attention itself is one fused operation that keeps no probabilities. Layers that find these maps among
/// what an evaluation gives them compute the probabilities a second time, in f32 or better.
#[derive(Debug)]
pub struct AttentionMaps<B: Backend> {
    /// 1 where the word of a prompt stands, `[prompts, length, words]`.
    words: Tensor<B, 3>,
    layers: Mutex<Vec<Dual<B, 3>>>,
}

impl<B: MatMul> AttentionMaps<B> {
    /// For prompts of `length` tokens with words at these positions, the same number in each prompt.
    ///
    /// # Panics
    /// If the numbers of words differ, or a position is beyond the length.
    pub fn new(positions: &[Vec<usize>], length: usize, device: &B::Device) -> Self {
        let words = positions.first().map_or(0, Vec::len);
        let mut values = vec![0f32; positions.len() * length * words];
        for (prompt, positions) in positions.iter().enumerate() {
            assert_eq!(positions.len(), words, "words of each prompt");
            for (word, position) in positions.iter().enumerate() {
                assert!(*position < length, "position {position} of {length}");
                values[(prompt * length + position) * words + word] = 1.0;
            }
        }
        let shape = [positions.len(), length, words];
        let words = Tensor::from_data(TensorData::new(values, shape), device);
        Self { words, layers: Mutex::default() }
    }

    /// Adds the map of a layer: softmax(q kᵀ/√d) at the words, in the mean over the heads.
    ///
    /// # Shapes
    /// - query: `[prompts, places, heads × d]`, key: `[prompts, length, heads × d]`
    pub fn record(&self, query: &Dual<B, 3>, key: &Dual<B, 3>, heads: usize) {
        let [prompts, places, channels] = query.dims();
        let [_, length, _] = key.dims();
        let split = |x: &Dual<B, 3>, tokens: usize| {
            let x = match x.primal.dtype() {
                DType::F16 | DType::BF16 => x.clone().cast(FloatDType::F32),
                _ => x.clone(),
            };
            x.reshape([prompts, tokens, heads, channels / heads]).swap_dims(1, 2)
        };
        let scale = ((channels / heads) as f64).powf(-0.5);
        let scores = split(query, places).scale(scale).times(split(key, length).transpose());
        let mean = scores.softmax(3).mean_dim(1).reshape([prompts, places, length]);
        let words = Dual::constant(self.words.clone().cast(mean.primal.dtype()));
        let map = mean.times(words);
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(map);
    }

    /// The maps of all layers up to now, `[prompts, places, words]` each.
    pub fn take(&self) -> Vec<Dual<B, 3>> {
        std::mem::take(&mut *self.layers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
