//! Prompts in which concepts stand as placeholders, and the token rows that concepts own.
//!
//! A concept is written `<id>` in a prompt and stands for one or two words of its own. Each word
//! owns either one row of the embedding table or, as in ED-LoRA (Mix-of-Show, P+), one row for
//! each cross-attention layer; a prompt is then encoded once per layer. The base table is never
//! touched: the rows live in a small table beside it.

use std::iter;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::region::{Area, Source, shares};

/// How many words a concept has, and whether each layer has its own row for a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScheme {
    /// ED-LoRA: two words (a new one and the class word), one row per cross-attention layer each.
    #[default]
    EdLora,
    /// One word with one row, starting as the class word (plain textual inversion).
    Single,
}

impl TokenScheme {
    /// The number of words of a concept.
    pub fn words(self) -> usize {
        match self {
            Self::EdLora => 2,
            Self::Single => 1,
        }
    }

    /// The number of rows that each word owns in a model with `layers` cross-attention layers.
    pub fn rows_per_word(self, layers: usize) -> usize {
        match self {
            Self::EdLora => layers,
            Self::Single => 1,
        }
    }
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Ordinary text.
    Text(String),
    /// A concept's word, by its number in the [`Vocabulary`].
    Word(usize),
}

/// A prompt as token ids, padded to the text encoder's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start, text, end, padding. Positions of words hold any valid id.
    pub ids: Vec<u32>,
    /// The positions that concepts' words take, with the number of the word.
    pub words: Vec<(usize, usize)>,
    /// How many tokens did not fit.
    pub truncated: usize,
}

/// The words of the concepts in play: where each one's rows lie in the table of rows.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    concepts: Vec<(String, std::ops::Range<usize>)>,
    words: Vec<WordRows>,
    rows: usize,
}

#[derive(Debug, Clone, Copy)]
struct WordRows {
    first: usize,
    count: usize,
}

impl Vocabulary {
    /// Adds a concept whose words' rows follow those of the concepts before it.
    pub fn push(&mut self, id: &str, words: usize, rows_per_word: usize) {
        let first_word = self.words.len();
        for _ in 0..words {
            self.words.push(WordRows { first: self.rows, count: rows_per_word });
            self.rows += rows_per_word;
        }
        self.concepts.push((id.to_string(), first_word..self.words.len()));
    }

    /// The concepts in the order of their rows.
    pub fn concepts(&self) -> impl Iterator<Item = &str> {
        self.concepts.iter().map(|(id, _)| id.as_str())
    }

    /// Splits a prompt at its placeholders `<id>`.
    ///
    /// # Errors
    /// If a word in angle brackets is not a known concept.
    pub fn split(&self, prompt: &str) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = prompt;
        while let Some((before, id, after)) = next_placeholder(rest) {
            let words = self.concepts.iter().find(|(known, _)| known == id).ok_or_else(|| {
                Error::UnknownConcept {
                    id: id.to_string(),
                    known: self.concepts().collect::<Vec<_>>().join(", "),
                }
            })?;
            pieces.push(Piece::Text(before.to_string()));
            pieces.extend(words.1.clone().map(Piece::Word));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_string()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()));
        Ok(pieces)
    }

    /// How many copies of a prompt have to be encoded: one per layer if any word needs it.
    fn copies(&self, prompts: &[Tokens], layers: usize) -> usize {
        let mut used = prompts.iter().flat_map(|p| &p.words).map(|(_, word)| self.words[*word]);
        if used.any(|rows| rows.count > 1) { layers } else { 1 }
    }
}

/// The first `<id>` in `text`: what stands before it, the id, and what stands after it.
pub fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut from = 0;
    while let Some(open) = text[from..].find('<').map(|i| i + from) {
        if let Some(length) = text[open + 1..].find('>') {
            let id = &text[open + 1..open + 1 + length];
            if !id.is_empty() && id.chars().all(is_id) {
                return Some((&text[..open], id, &text[open + length + 2..]));
            }
        }
        from = open + 1;
    }
    None
}

/// Prompts ready for the text encoder: `copies` of each, one after the other.
#[derive(Debug, Clone)]
pub struct TextBatch<B: Backend> {
    /// `[prompts × copies, length]`
    pub ids: Tensor<B, 2, Int>,
    /// For each position, where its embedding lies in the concatenation of the embedded ids
    /// (flattened) and the concepts' rows; `None` if no concept is mentioned.
    pub gather: Option<Tensor<B, 1, Int>>,
    /// How often each prompt is encoded.
    pub copies: usize,
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
                    let WordRows { first, count } = vocabulary.words[*word];
                    let row = first + if count > 1 { copy } else { 0 };
                    let flat = (number * copies + copy) * length + position;
                    gather[flat] = (positions + row) as i32;
                }
            }
        }
        let mentions_concepts = prompts.iter().any(|p| !p.words.is_empty());
        let shape = [prompts.len() * copies, length];
        Self {
            ids: Tensor::from_data(TensorData::new(ids, shape), device),
            gather: mentions_concepts
                .then(|| Tensor::from_data(TensorData::new(gather, [positions]), device)),
            copies,
        }
    }
}

/// Encoded prompts: what each cross-attention layer sees.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// One entry that all layers share, or one per layer; `[prompts, length, width]` each.
    layers: Vec<Dual<B, 3>>,
    /// What is seen in parts of the picture instead.
    regions: Vec<(Area, Context<B>)>,
}

impl<B: Backend> Context<B> {
    /// Splits what the text encoder made of a [`TextBatch`], `[prompts × copies, length, width]`.
    pub fn new(encoded: Dual<B, 3>, copies: usize) -> Self {
        let [rows, length, width] = encoded.dims();
        let by_copy = encoded.reshape([rows / copies, copies, length * width]);
        let layer =
            |copy| by_copy.clone().narrow(1, copy, 1).reshape([rows / copies, length, width]);
        Self { layers: (0..copies).map(layer).collect(), regions: Vec::new() }
    }

    /// With prompts of their own in parts of the picture, as many as this context has.
    pub fn with_regions(self, regions: Vec<(Area, Self)>) -> Self {
        Self { regions, ..self }
    }

    /// What cross-attention layer number `layer` sees.
    pub fn layer(&self, layer: usize) -> Dual<B, 3> {
        self.layers[if self.layers.len() == 1 { 0 } else { layer }].clone()
    }

    /// What cross-attention layer number `layer` sees, and where, if it has `[height, width]`
    /// places.
    pub fn sources(&self, layer: usize, places: [usize; 2]) -> Vec<Source<B>> {
        if self.regions.is_empty() {
            return vec![Source { prompt: self.layer(layer), share: None }];
        }
        let areas: Vec<Area> = self.regions.iter().map(|(area, _)| *area).collect();
        let contexts = iter::once(self).chain(self.regions.iter().map(|(_, context)| context));
        let seen = contexts
            .zip(shares(&areas, places))
            .filter(|(_, share)| share.iter().any(|share| *share > 0.0));
        seen.map(|(context, share)| {
            let prompt = context.layer(layer);
            let as_prompt = (&prompt.primal.device(), prompt.primal.dtype());
            let share = TensorData::new(share, [1, places[0] * places[1], 1]);
            Source { prompt, share: Some(Tensor::from_data(share, as_prompt)) }
        })
        .collect()
    }

    /// The prompts of two contexts in one batch, for classifier-free guidance.
    ///
    /// # Panics
    /// If their regions are not the same areas.
    pub fn cat(self, other: Self) -> Self {
        let layers = self.layers.len().max(other.layers.len());
        let both = |l| self.layer(l).cat(other.layer(l), 0);
        let layers = (0..layers).map(both).collect();
        assert_eq!(self.regions.len(), other.regions.len(), "regions of both contexts");
        let regions = self.regions.into_iter().zip(other.regions);
        let regions = regions.map(|((area, first), (same, second))| {
            assert_eq!(area, same, "regions of both contexts");
            (area, first.cat(second))
        });
        Self { layers, regions: regions.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        vocabulary.push("dog6", 2, 3);
        vocabulary.push("mug", 1, 1);
        vocabulary
    }

    #[test]
    fn a_prompt_is_split_at_its_concepts() {
        let pieces = vocabulary().split("a <dog6> beside <mug>, 1 < 2 > 0").unwrap();
        let text = |s: &str| Piece::Text(s.to_string());
        let expected = [
            text("a "),
            Piece::Word(0),
            Piece::Word(1),
            text(" beside "),
            Piece::Word(2),
            text(", 1 < 2 > 0"),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn an_unknown_concept_is_an_error_that_names_the_known_ones() {
        let error = vocabulary().split("a <cat>").unwrap_err().to_string();
        assert!(error.contains("<cat>") && error.contains("dog6, mug"), "{error}");
    }
}
