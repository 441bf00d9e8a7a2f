//! Prompts in which concepts stand as placeholders `<id>`, and the words that take their place.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How many words a concept has, and whether each layer has its own embedding of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScheme {
    /// ED-LoRA: two words (a new one and the class word), one embedding per cross-attention layer each.
    #[default]
    EdLora,
    /// One word with one embedding, starting as the class word (plain textual inversion).
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

    /// The number of embeddings that each word owns in a model with `layers` cross-attention layers.
    pub fn embeddings_per_word(self, layers: usize) -> usize {
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
    /// A token of the model's own vocabulary.
    Token(u32),
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

/// The words of the concepts in play: where each one's embeddings lie in their table.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    concepts: Vec<(String, std::ops::Range<usize>)>,
    words: Vec<WordEmbeddings>,
    embeddings: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WordEmbeddings {
    pub first: usize,
    pub count: usize,
}

impl Vocabulary {
    /// Adds a concept whose words' embeddings follow those of the concepts before it.
    pub fn push(&mut self, id: &str, words: usize, embeddings_per_word: usize) {
        let first_word = self.words.len();
        for _ in 0..words {
            self.words.push(WordEmbeddings { first: self.embeddings, count: embeddings_per_word });
            self.embeddings += embeddings_per_word;
        }
        self.concepts.push((id.to_string(), first_word..self.words.len()));
    }

    /// Whether a word is the first one of its concept.
    pub(super) fn begins_concept(&self, number: usize) -> bool {
        self.concepts.iter().any(|(_, words)| words.start == number)
    }

    /// Where the embeddings of a word lie.
    pub(super) fn word(&self, number: usize) -> WordEmbeddings {
        self.words[number]
    }

    /// The concepts in the order of their embeddings.
    pub fn concepts(&self) -> impl Iterator<Item = &str> {
        self.concepts.iter().map(|(id, _)| id.as_str())
    }

    /// Splits a prompt at its placeholders `<id>`.
    ///
    /// # Errors
    /// If a word in angle brackets is not a known concept, or is another program's
    /// [tag](foreign_tag).
    pub fn split(&self, prompt: &str) -> Result<Vec<Piece>> {
        if let Some(ForeignTag { tag, id, .. }) = foreign_tag(prompt) {
            return Err(Error::Prompt(format!(
                "`{tag}` is another program's way to name an adapter; write <{id}> in the prompt, and \
                 set the concept's scale where concepts are chosen"
            )));
        }
        let mut pieces = Vec::new();
        let mut rest = prompt;
        while let Some((before, id, after)) = next_placeholder(rest) {
            let words = self.concepts.iter().find(|(known, _)| known == id);
            let words = words.ok_or_else(|| Error::unknown_concept(id, self.concepts()))?;
            pieces.push(Piece::Text(before.to_string()));
            pieces.extend(words.1.clone().map(Piece::Word));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_string()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()));
        Ok(pieces)
    }

    /// How many copies of a prompt have to be encoded: one per layer if any word needs it.
    pub(super) fn copies(&self, prompts: &[Tokens], layers: usize) -> usize {
        let mut used = prompts.iter().flat_map(|p| &p.words).map(|(_, word)| self.words[*word]);
        if used.any(|own| own.count > 1) { layers } else { 1 }
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

/// An adapter with its strength, as other programs write it into a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignTag<'a> {
    /// All of it.
    pub tag: &'a str,
    /// What kind of adapter it names: `lora`, `lyco` or `hypernet`, if it says so.
    pub network: Option<&'a str>,
    /// What it names.
    pub id: &'a str,
    /// The strength.
    pub scale: &'a str,
}

/// The first `<id:0.8>` or `<lora:id:0.8>` in `text`, as A1111's web interface and its kin write it.
pub fn foreign_tag(text: &str) -> Option<ForeignTag<'_>> {
    let tags = text.match_indices('<').filter_map(|(open, _)| {
        let end = open + text[open..].find('>')? + 1;
        let tag = &text[open..end];
        let parts: Vec<&str> = tag[1..tag.len() - 1].splitn(4, ':').collect();
        let (network, id, scale) = match parts[..] {
            [network @ ("lora" | "lyco" | "hypernet"), id] => (Some(network), id, "1"),
            [network @ ("lora" | "lyco" | "hypernet"), id, scale, ..] => (Some(network), id, scale),
            [id, scale] => (None, id, scale),
            _ => return None,
        };
        let is_id = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
        let named = id.starts_with(|c: char| c.is_ascii_alphabetic()) && id.chars().all(is_id);
        let number = scale.trim().parse::<f64>().is_ok();
        (named && number).then_some(ForeignTag { tag, network, id, scale: scale.trim() })
    });
    tags.into_iter().next()
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
    fn tags_of_other_programs_are_refused() {
        let found = |text| foreign_tag(text).map(|ForeignTag { id, scale, .. }| (id, scale));
        assert_eq!(found("a <lora:mug:0.8> here"), Some(("mug", "0.8")));
        assert_eq!(foreign_tag("<lora:mug:0.8>").and_then(|tag| tag.network), Some("lora"));
        assert_eq!(foreign_tag("<mug:0.8>").and_then(|tag| tag.network), None);
        assert_eq!(found("1 < 2, a <dog6:0.5>"), Some(("dog6", "0.5")));
        assert_eq!(found("<lora:mug>"), Some(("mug", "1")));
        for text in ["a <dog6>", "at 12:30 <3", "<a note: this>", "ratio <3:2>", "<<>", "<lora:"] {
            assert_eq!(found(text), None, "{text}");
        }
        let error = vocabulary().split("a <lora:mug:0.8>").unwrap_err().to_string();
        assert!(error.contains("`<lora:mug:0.8>`") && error.contains("write <mug>"), "{error}");
    }

    #[test]
    fn an_unknown_concept_is_an_error_that_names_the_known_ones() {
        let error = vocabulary().split("a <cat>").unwrap_err().to_string();
        assert!(error.contains("<cat>") && error.contains("dog6, mug"), "{error}");
    }
}
