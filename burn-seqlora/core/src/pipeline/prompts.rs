//! Prompts as cross-attention sees them: read, split into chunks, encoded and weighted.

use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_jvp::{Dual, overall_mean};
use seqlora_kernels::KernelBackend;
use serde::{Deserialize, Serialize};

use crate::compose::Composition;
use crate::diffusion::Context;
use crate::error::{Error, Result};
use crate::model::{DiffusionModel, TextEncoder};
use crate::text::{Chunk, PromptSyntax, TextBatch, Tokenizing, Tokens, Vocabulary, chunks};

/// How prompts become what cross-attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSettings {
    /// How prompts are read.
    pub syntax: PromptSyntax,
    /// Which layer of the text encoder gives the states, counted from the end: 1 is the last one, 2 the
    /// one before, as in A1111's "Clip skip". The final normalisation is applied to all of them.
    pub clip_skip: usize,
}

impl Default for TextSettings {
    fn default() -> Self {
        Self { syntax: PromptSyntax::Plain, clip_skip: 1 }
    }
}

impl TextSettings {
    /// How many of a text encoder's layers are applied.
    ///
    /// # Errors
    /// If it has fewer than are counted, or none is counted.
    pub fn layers(&self, all: usize) -> Result<usize> {
        match self.clip_skip {
            skip if (1..=all).contains(&skip) => Ok(all + 1 - skip),
            skip => Err(Error::Invalid(format!(
                "clip skip {skip}: the text encoder has {all} layers; choose 1, the last one, to {all}"
            ))),
        }
    }
}

/// A prompt as tokens, chunk by chunk.
#[derive(Debug, Clone)]
pub(super) struct ReadPrompt(Vec<ReadChunk>);

#[derive(Debug, Clone)]
struct ReadChunk {
    tokens: Tokens,
    /// The weight of each position, if one is not 1.
    weights: Option<Vec<f32>>,
}

impl ReadPrompt {
    /// Reads a prompt for a model.
    pub(super) fn new<B: KernelBackend>(
        model: &impl TextEncoder<B>,
        vocabulary: &Vocabulary,
        syntax: PromptSyntax,
        prompt: &str,
    ) -> Result<Self> {
        if syntax == PromptSyntax::Plain {
            let tokens = model.tokenize(&vocabulary.split(prompt)?)?;
            return Ok(Self(vec![ReadChunk { tokens, weights: None }]));
        }
        let length = model.tokenize(&[])?.ids.len();
        let token_ids = |text: &str| model.token_ids(text);
        // Start and end take a position each.
        let tokenizing = Tokenizing { token_ids: &token_ids, room: length - 2 };
        let chunks = chunks(&syntax.parts(prompt)?, vocabulary, &tokenizing)?;
        let read = |chunk: &Chunk| {
            let tokens = model.tokenize(&chunk.pieces)?;
            Ok(ReadChunk {
                tokens,
                weights: chunk.is_weighted().then(|| at_positions(chunk, length)),
            })
        };
        Ok(Self(chunks.iter().map(read).collect::<Result<_>>()?))
    }

    /// The number of chunks.
    pub(super) fn chunks(&self) -> usize {
        self.0.len()
    }

    /// How many tokens did not fit.
    pub(super) fn truncated(&self) -> usize {
        self.0.iter().map(|chunk| chunk.tokens.truncated).sum()
    }
}

/// The weights of all positions: 1 for start, end and padding.
fn at_positions(chunk: &Chunk, length: usize) -> Vec<f32> {
    let weights = chunk.weights.iter().map(|weight| *weight as f32);
    let weights = [1.0].into_iter().chain(weights).chain(std::iter::repeat(1.0));
    weights.take(length).collect()
}

/// Encodes a batch of prompts, each filled up to `count` chunks by empty ones.
pub(super) fn encode<B: KernelBackend, M: DiffusionModel<B>>(
    model: &M,
    composition: &Composition<B>,
    prompts: &[ReadPrompt],
    count: usize,
    layers: usize,
) -> Result<Context<B>> {
    let vocabulary = &composition.vocabulary;
    let empty = ReadChunk { tokens: model.tokenize(&[])?, weights: None };
    let chunk = |number: usize| {
        let chunks = prompts.iter().map(|prompt| prompt.0.get(number).unwrap_or(&empty));
        let (tokens, weights): (Vec<_>, Vec<_>) =
            chunks.map(|chunk| (chunk.tokens.clone(), chunk.weights.clone())).unzip();
        let layer_count = model.cross_attention_layers();
        let batch = TextBatch::new(&tokens, vocabulary, layer_count, &model.device());
        let embeddings = composition.embeddings.as_ref();
        let encoded = model.encode_text_until(&batch, embeddings, &composition.adapters, layers);
        encoded.context.map_layers(|states| emphasised(states, &weights))
    };
    Ok((1..count).map(chunk).fold(chunk(0), Context::followed_by))
}

/// States `[prompts, length, width]`, those of each position times its weight, scaled so that the mean of
/// each prompt's states is what it was, as in A1111's "original" emphasis. Prompts without weights keep
/// their bits.
fn emphasised<B: KernelBackend>(states: Dual<B, 3>, weights: &[Option<Vec<f32>>]) -> Dual<B, 3> {
    if weights.iter().all(Option::is_none) {
        return states;
    }
    let states = states.primal;
    let dtype = FloatDType::from(states.dtype());
    let device = states.device();
    let prompt = |(number, weights): (usize, &Option<Vec<f32>>)| {
        let states = states.clone().narrow(0, number, 1);
        let Some(weights) = weights else { return states };
        // The mean of 16-bit numbers would be rounded.
        let states = states.cast(FloatDType::F32);
        let weights = TensorData::new(weights.clone(), [1, weights.len(), 1]);
        let weighted = states.clone() * Tensor::from_data(weights, &device);
        let ratio = overall_mean(states.clone()) / overall_mean(weighted.clone());
        (weighted * ratio.reshape([1, 1, 1])).cast(dtype)
    };
    Dual::constant(Tensor::cat(weights.iter().enumerate().map(prompt).collect(), 0))
}
