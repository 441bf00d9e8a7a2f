//! Assembles the pieces of a prompt into the token ids that a text encoder takes.

use seqlora_core::text::{Piece, Tokens};

use super::ClipTokenizer;
use super::error::TokenizerError;

impl ClipTokenizer {
    /// Assembles a prompt: BOS, the pieces, EOS, and padding up to [`Self::context_length`].
    ///
    /// Each piece of text is tokenised separately, as transformers tokenises the text between added
    /// tokens. If the pieces are too long, tokens are cut off before the EOS.
    ///
    /// # Errors
    /// [`TokenizerError::WordCut`] if a concept's word would be cut off.
    pub fn assemble(&self, pieces: &[Piece]) -> Result<Tokens, TokenizerError> {
        let room = self.context_length - 2;
        let mut ids = vec![self.bos];
        let mut words = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => ids.extend(self.encode(text)),
                Piece::Token(id) => ids.push(*id),
                Piece::Word(number) => {
                    words.push((ids.len(), *number));
                    ids.push(self.eos);
                }
            }
        }
        if let Some(&(position, _)) = words.iter().find(|(at, _)| *at > room) {
            return Err(TokenizerError::WordCut { position, context_length: self.context_length });
        }
        let truncated = ids.len().saturating_sub(1 + room);
        ids.truncate(1 + room);
        ids.push(self.eos);
        ids.resize(self.context_length, self.pad);
        Ok(Tokens { ids, words, truncated })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::tokenizer;
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_string())
    }

    /// Reference: the same tokenizer after `add_tokens(["<v1>", "<v2>"])` (ids 531 and 532), on
    /// "a photo of <v1> dog <v2>'s cat!" padded to 16.
    #[test]
    fn words_take_one_position_and_split_the_text() {
        let tokenizer = tokenizer("<|endoftext|>").with_context_length(16);
        let pieces =
            [text("a photo of "), Piece::Word(7), text(" dog "), Piece::Word(0), text("'s cat!")];
        let prompt = tokenizer.assemble(&pieces).unwrap();
        let body = [529, 320, 518, 519, 530, 521, 530, 524, 523, 256];
        assert_eq!(prompt.ids[..10], body);
        assert_eq!(prompt.ids[10..], [530; 6]);
        assert_eq!(prompt.words, [(4, 7), (6, 0)]);
        assert_eq!(prompt.truncated, 0);
    }

    #[test]
    fn long_prompts_are_cut_and_keep_eos() {
        let tokenizer = tokenizer("!");
        let prompt = tokenizer.assemble(&[text(&"the dog ".repeat(50))]).unwrap();
        assert_eq!(prompt.ids.len(), 77);
        assert_eq!(prompt.ids[..3], [529, 514, 521]);
        assert_eq!(prompt.ids[74..], [521, 514, 530]);
        assert_eq!(prompt.truncated, 25);

        let fits = tokenizer.assemble(&[text(&"dog ".repeat(75))]).unwrap();
        assert_eq!(fits.truncated, 0);
    }

    #[test]
    fn an_empty_prompt_is_bos_eos_padding() {
        let prompt = tokenizer("!").assemble(&[]).unwrap();
        assert_eq!(prompt.ids[..3], [529, 530, 0]);
        assert_eq!(prompt.ids[2..], [0; 75]);
    }

    #[test]
    fn a_placeholder_is_never_cut() {
        let tokenizer = tokenizer("!");
        let last = [text(&"dog ".repeat(74)), Piece::Word(3), text("cat")];
        let prompt = tokenizer.assemble(&last).unwrap();
        assert_eq!((prompt.words, prompt.truncated), (vec![(75, 3)], 1));

        let beyond = [text(&"dog ".repeat(75)), Piece::Word(3)];
        let error = tokenizer.assemble(&beyond).unwrap_err().to_string();
        assert!(error.contains("a concept's word would be token 76"), "{error}");
    }
}
