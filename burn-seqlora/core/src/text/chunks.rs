//! Prompts of any length: chunks that the text encoder reads one by one, as in A1111's web interface.

use super::vocabulary::{Piece, Vocabulary};
use super::weights::Part;
use crate::error::{Error, Result};

/// A full chunk ends after its last comma if at most so many of its tokens begin there.
const BACKTRACK: usize = 20;

/// Chunks of a prompt. More of them than this were hardly meant.
const MOST: usize = 64;

/// The tokens of a prompt that are encoded at once, and the weight of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chunk {
    /// Tokens and concepts' words, one piece each.
    pub pieces: Vec<Piece>,
    /// The weight of each piece.
    pub weights: Vec<f64>,
}

impl Chunk {
    /// Whether any token has another weight than 1.
    pub fn is_weighted(&self) -> bool {
        self.weights.iter().any(|weight| *weight != 1.0)
    }
}

/// How texts become tokens.
pub struct Tokenizing<'a> {
    /// The tokens of a text, without start, end and padding.
    pub token_ids: &'a dyn Fn(&str) -> Vec<u32>,
    /// The tokens of a chunk: what the text encoder reads at once, less start and end.
    pub room: usize,
}

/// Splits a prompt into chunks, at least one. A chunk ends at a [`Part::Break`], or where it is full; then
/// what follows its last comma goes to the next one, if that is at most 20 tokens. The words of a concept
/// stay together.
///
/// # Errors
/// If the prompt names an unknown concept, or has more than 64 chunks.
pub fn chunks(
    parts: &[Part],
    vocabulary: &Vocabulary,
    tokenizing: &Tokenizing,
) -> Result<Vec<Chunk>> {
    let comma = match (tokenizing.token_ids)(",")[..] {
        [comma] => Some(comma),
        _ => None,
    };
    let mut writer = Writer { done: Vec::new(), chunk: Chunk::default(), after_comma: None };
    for part in parts {
        match part {
            Part::Break => writer.end(writer.chunk.pieces.len())?,
            Part::Text(text, weight) => {
                for unit in units(text, vocabulary, tokenizing)? {
                    writer.push(unit, *weight, comma, tokenizing.room)?;
                }
            }
        }
    }
    if !writer.chunk.pieces.is_empty() || writer.done.is_empty() {
        writer.end(writer.chunk.pieces.len())?;
    }
    Ok(writer.done)
}

/// The tokens of a text, and all words of a concept as one.
fn units(text: &str, vocabulary: &Vocabulary, tokenizing: &Tokenizing) -> Result<Vec<Vec<Piece>>> {
    let mut units: Vec<Vec<Piece>> = Vec::new();
    for piece in vocabulary.split(text)? {
        match piece {
            Piece::Text(text) => {
                let ids = (tokenizing.token_ids)(&text);
                units.extend(ids.into_iter().map(|id| vec![Piece::Token(id)]));
            }
            Piece::Word(word) if !vocabulary.begins_concept(word) => {
                units.last_mut().expect("a concept's first word comes before").push(piece);
            }
            piece => units.push(vec![piece]),
        }
    }
    Ok(units)
}

struct Writer {
    done: Vec<Chunk>,
    chunk: Chunk,
    /// What the chunk has up to its last comma.
    after_comma: Option<usize>,
}

impl Writer {
    fn push(
        &mut self,
        unit: Vec<Piece>,
        weight: f64,
        comma: Option<u32>,
        room: usize,
    ) -> Result<()> {
        let is_comma = comma.is_some_and(|comma| unit == [Piece::Token(comma)]);
        let length = self.chunk.pieces.len();
        if length + unit.len() > room {
            let near = |at: &usize| !is_comma && length + 1 - at <= BACKTRACK;
            let end = self.after_comma.filter(near).unwrap_or(length);
            self.end(end)?;
            // What was moved may leave no room for a concept of several words.
            if self.chunk.pieces.len() + unit.len() > room {
                self.end(self.chunk.pieces.len())?;
            }
        }
        self.chunk.weights.extend(unit.iter().map(|_| weight));
        self.chunk.pieces.extend(unit);
        if is_comma {
            self.after_comma = Some(self.chunk.pieces.len());
        }
        Ok(())
    }

    /// Ends the chunk after `size` pieces; the others begin the next one.
    fn end(&mut self, size: usize) -> Result<()> {
        if self.done.len() == MOST {
            return Err(Error::Prompt(format!("the prompt has more than {MOST} chunks of tokens")));
        }
        let rest = Chunk {
            pieces: self.chunk.pieces.split_off(size),
            weights: self.chunk.weights.split_off(size),
        };
        self.done.push(std::mem::replace(&mut self.chunk, rest));
        self.after_comma = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights::parse_weights;
    use super::*;

    /// A token per word; commas are 0, and the other ids tell how long the word is.
    fn token_ids(text: &str) -> Vec<u32> {
        let spaced = text.replace(',', " , ");
        spaced
            .split_whitespace()
            .map(|word| if word == "," { 0 } else { word.len() as u32 })
            .collect()
    }

    fn split(prompt: &str) -> Result<Vec<Chunk>> {
        let mut vocabulary = Vocabulary::default();
        vocabulary.push("dog", 2, 3);
        vocabulary.push("mug", 2, 3);
        let tokenizing = Tokenizing { token_ids: &token_ids, room: 75 };
        chunks(&parse_weights(prompt).unwrap(), &vocabulary, &tokenizing)
    }

    fn sizes(prompt: &str) -> Vec<usize> {
        split(prompt).unwrap().iter().map(|chunk| chunk.pieces.len()).collect()
    }

    /// Sizes of the chunks that A1111's web interface 1.10 makes.
    #[test]
    fn chunks_of_a1111() {
        let a = |count| "a ".repeat(count);
        assert_eq!(sizes(""), [0]);
        assert_eq!(sizes(&a(75)), [75]);
        assert_eq!(sizes(&a(76)), [75, 1]);
        assert_eq!(sizes(&a(200)), [75, 75, 50]);
        // The comma is token 61; 14 tokens follow it in the chunk.
        assert_eq!(sizes(&format!("{}, {}", a(60), a(15))), [61, 15]);
        // Token 55 is 20 from the end of the chunk, token 54 is 21.
        assert_eq!(sizes(&format!("{}, {}", a(55), a(20))), [56, 20]);
        assert_eq!(sizes(&format!("{}, {}", a(54), a(21))), [75, 1]);
        // A comma that does not fit begins the next chunk.
        assert_eq!(sizes(&format!("{}, {}, a", a(60), a(14))), [75, 2]);
        assert_eq!(sizes("a BREAK b c"), [1, 2]);
        assert_eq!(sizes("BREAK a BREAK"), [0, 1]);
        assert_eq!(sizes("BREAK BREAK a"), [0, 0, 1]);
    }

    #[test]
    fn moved_tokens_take_their_weights_along() {
        let prompt = format!("{}, {} (b b:1.5) [c]", "a ".repeat(60), "a ".repeat(13));
        let chunks = split(&prompt).unwrap();
        assert_eq!(chunks.iter().map(|c| c.pieces.len()).collect::<Vec<_>>(), [61, 16]);
        assert!(!chunks[0].is_weighted() && chunks[1].is_weighted());
        let mut expected = vec![1.0; 13];
        expected.extend([1.5, 1.5, 1.0 / 1.1]);
        assert_eq!(chunks[1].weights, expected);
    }

    #[test]
    fn a_concept_stays_together_and_has_its_weight() {
        let chunks = split(&format!("{} (<dog> <mug>:0.5)", "a ".repeat(74))).unwrap();
        assert_eq!(chunks[0].pieces.len(), 74);
        assert_eq!(chunks[1].pieces, [0, 1, 2, 3].map(Piece::Word));
        assert_eq!(chunks[1].weights, [0.5; 4]);
        // Moved with the text behind a comma.
        assert_eq!(sizes(&format!("{}, {}<dog>", "a ".repeat(60), "a ".repeat(13))), [61, 15]);
    }

    #[test]
    fn unknown_concepts_and_endless_prompts_are_refused() {
        assert!(split("(<cat>:1.2)").unwrap_err().to_string().contains("<cat>"));
        assert_eq!(sizes(&"a ".repeat(75 * 64)).len(), 64);
        let error = split(&"a ".repeat(75 * 64 + 1)).unwrap_err().to_string();
        assert!(error.contains("more than 64 chunks"), "{error}");
    }
}
