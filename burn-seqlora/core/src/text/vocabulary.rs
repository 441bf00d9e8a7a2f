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
        if let Some(ForeignTag { tag, id, scale, .. }) = foreign_tag(prompt) {
            return Err(Error::Prompt(match scale.parse::<f64>() {
                Ok(_) => format!(
                    "`{tag}` is another program's way to name an adapter; write <{id}> in the prompt, and \
                     set the concept's scale where concepts are chosen"
                ),
                Err(_) => format!(
                    "`{tag}` names no concept; a concept is <id>, and text has a space behind `<`"
                ),
            }));
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

/// What prompts hold between `<` and `>` that is no `<id>`: an adapter with its strength, as other programs write it, or
/// a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignTag<'a> {
    /// All of it.
    pub tag: &'a str,
    /// What kind of adapter it names: `lora`, `lyco` or `hypernet` in any case, if it says so.
    pub network: Option<&'a str>,
    /// What it names.
    pub id: &'a str,
    /// The strength; empty in a mistake.
    pub scale: &'a str,
}

/// The kinds of adapters that A1111's web interface and its kin know.
const NETWORKS: [&str; 3] = ["lora", "lyco", "hypernet"];

/// The first `<id:0.8>`, `<lora:id:0.8>` or mistake in `text`. Angle brackets are text where a space follows or none closes,
/// as in `1 < 2` and `<3`; only `<id:0.8` without its end is a mistake too.
pub fn foreign_tag(text: &str) -> Option<ForeignTag<'_>> {
    text.match_indices('<').find_map(|(open, _)| tag_at(&text[open..]))
}

/// The tag that a text begins with, whose first character is `<`.
fn tag_at(text: &str) -> Option<ForeignTag<'_>> {
    let length = text[1..].find(['<', '>']).map_or(text.len(), |length| length + 1);
    let (inner, rest) = (&text[1..length], &text[length..]);
    let closed = rest.starts_with('>');
    let tag = if closed { &text[..=length] } else { &text[..length] };
    let parts: Vec<&str> = inner.split(':').map(str::trim).collect();
    let is_network = |name: &str| NETWORKS.iter().any(|known| known.eq_ignore_ascii_case(name));
    match parts[..] {
        [network, id, ..] if is_network(network) => {
            let scale = parts.get(2).copied().unwrap_or("1");
            Some(ForeignTag { tag, network: Some(network), id, scale })
        }
        _ if !inner.starts_with(|c: char| c.is_alphanumeric() || "_./".contains(c)) => None,
        [id, scale] if closed => Some(ForeignTag { tag, network: None, id, scale }),
        // `<dog6:0.5` without its end, but not `<3, style: oil`.
        [id, scale] if id.chars().all(is_id) && scale.starts_with(|c: char| c.is_ascii_digit()) => {
            Some(ForeignTag { tag, network: None, id, scale: "" })
        }
        _ if closed && !inner.chars().all(is_id) => {
            Some(ForeignTag { tag, network: None, id: inner, scale: "" })
        }
        _ => None,
    }
}

/// Whether ids have this character.
fn is_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
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
        assert_eq!(found("<7up:1e-1>"), Some(("7up", "1e-1")));
        for text in [
            "a <dog6>",
            "at 12:30 <3",
            "1 < 2: 3 > 2",
            "<<>",
            "<>",
            ">_<",
            "< a:b >",
            "a <3, style: oil",
            "I <3 you, (masterpiece:1.2)",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        for tag in [
            "<LORA:cat:1>",
            "< lora:cat:1 >",
            "<lora:Foo (v1):0.8>",
            "<lora:/x/y.safetensors:1>",
            "<lora:",
            "<lyco:ü:1>",
        ] {
            assert!(foreign_tag(tag).is_some_and(|found| found.network.is_some()), "{tag}");
        }
        for tag in [
            "<dog6:abc>",
            "<dog6:>",
            "<dog6 0.5>",
            "<dog6=0.5>",
            "<dog6:0.5",
            "<a b>",
            "<wildcard:x>",
            "<ünicode>",
        ] {
            let error = vocabulary().split(&format!("a {tag}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`{tag}` names no concept")), "{error}");
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
