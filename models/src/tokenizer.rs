//! CLIP's tokenizer: from text to token ids, and from ids to the text encoder's fixed-length input.
//!
//! The rules are those of `tokenization_clip.py` in transformers 5, which follows
//! `simple_tokenizer.py` in openai/CLIP:
//!
//! 1. Special and added tokens are extracted from the text.
//! 2. The rest is normalised: NFC, one space for each run of white space, and lower case.
//! 3. It is split into contractions (`'s 't 're 've 'm 'll 'd`), runs of letters, single digits and runs
//!    of other characters, without white space.
//! 4. The UTF-8 bytes of each piece become symbols of the byte-level alphabet, the last symbol is marked
//!    with `</w>`, and the symbols are merged by byte-pair encoding.

mod digest;
mod error;
mod files;
mod json;
mod prompt;
mod special_token;
#[cfg(test)]
mod testing;
mod vocabulary;

use std::fmt;
use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Decoder, SplitDelimiterBehavior, Tokenizer};

pub use error::TokenizerError;
pub use files::CLIP_CONTEXT_LENGTH;

use files::TokenizerFiles;
use special_token::SpecialToken;
use vocabulary::{BpeVocabulary, Merges, Vocab};

/// The pieces of step 3 of the module's rules, as a regular expression.
const PIECES: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The tokenizer of a CLIP text encoder, read from the `tokenizer` folder of a diffusers model.
#[derive(Clone)]
pub struct ClipTokenizer {
    inner: Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    context_length: usize,
    highest: (u32, String),
    digest: String,
}

impl ClipTokenizer {
    /// Reads a tokenizer folder.
    ///
    /// The vocabulary comes from `tokenizer.json` if it exists, otherwise from `vocab.json` and
    /// `merges.txt`. The special tokens, the added tokens and the context length come from
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, with the precedence
    /// of transformers 5. The defaults are CLIP's: `<|startoftext|>`, `<|endoftext|>` (also for padding)
    /// and [`CLIP_CONTEXT_LENGTH`], which also replaces the `model_max_length` of 1e30 that
    /// transformers writes if the length is unknown.
    ///
    /// # Errors
    /// If a file is missing, damaged or not CLIP's; the error names the file and the key.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let files = TokenizerFiles::read(folder.as_ref())?;
        let id = |key: &'static str, token: &SpecialToken| {
            files.vocabulary.ids.get(&token.content).copied().ok_or_else(|| {
                TokenizerError::NotInVocabulary {
                    path: files.vocabulary.path.clone(),
                    key,
                    token: token.content.clone(),
                }
            })
        };
        let bos = id("bos_token", &files.bos)?;
        let eos = id("eos_token", &files.eos)?;
        let pad = id("pad_token", &files.pad)?;
        // With the unknown token in the vocabulary, byte-pair encoding cannot fail.
        let unk = id("unk_token", &files.unk)?;

        let highest = files.vocabulary.ids.iter().map(|(token, id)| (*id, token.clone())).max();
        let highest = highest.expect("it has bos_token");
        let (added, context_length) = (files.added_tokens(), files.context_length);
        let digest = digest::of(&files.vocabulary, &added, [bos, eos, unk, pad], context_length);
        let TokenizerFiles { vocabulary: BpeVocabulary { path, ids, merges, .. }, unk, .. } = files;
        let mut inner = clip_rules(ids, merges, unk.content)
            .map_err(|source| TokenizerError::Build { path, source })?;
        inner.add_tokens(&added);
        Ok(Self { inner, bos, eos, pad, context_length, highest, digest })
    }

    /// Limits the context length to the number of positions of the text encoder.
    ///
    /// # Panics
    /// If `positions` is less than 2, because BOS and EOS need one each.
    pub fn with_context_length(mut self, positions: usize) -> Self {
        assert!(positions >= 2, "a context of {positions} positions has no room for BOS and EOS");
        self.context_length = self.context_length.min(positions);
        self
    }

    /// The token ids of a text of any length, without BOS, EOS and padding.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let encoding = self.inner.encode_fast(text, false);
        encoding.expect("every symbol is in the vocabulary or unknown").get_ids().to_vec()
    }

    /// The tokens of a text as a reader sees them, `cor` and `gi` for "corgi": without the mark of a word's end, and
    /// bytes as text. What is only a part of a character is U+FFFD.
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let bytes = ByteLevel::default();
        let piece = |id: u32| {
            let token =
                self.inner.id_to_token(id).expect("the vocabulary has every id that it gives");
            let symbols = token.strip_suffix("</w>").unwrap_or(&token);
            bytes.decode(vec![symbols.to_string()]).expect("bytes can be decoded")
        };
        self.encode(text).into_iter().map(piece).collect()
    }

    /// The id of BOS, the first token of a prompt.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// The id of EOS, which ends a prompt.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The id of the padding after EOS: EOS itself in Stable Diffusion 1.x, `!` (0) in 2.x.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The length of an assembled prompt in tokens.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// One more than the highest id, including added tokens: the size of the embedding table.
    pub fn vocab_size(&self) -> usize {
        self.highest.0 as usize + 1
    }

    /// The highest id, including added tokens, and its token.
    pub fn highest(&self) -> (u32, &str) {
        (self.highest.0, &self.highest.1)
    }

    /// A digest of what decides which ids a text gets: the vocabulary, the merges, special and added
    /// tokens, and the context length of the files. 32 hexadecimal digits. Files of another form with the
    /// same content have the same digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClipTokenizer")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .field("pad", &self.pad)
            .field("context_length", &self.context_length)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The tokenizer with the module's rules.
fn clip_rules(vocab: Vocab, merges: Merges, unk: String) -> tokenizers::Result<Tokenizer> {
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .unk_token(unk)
        .end_of_word_suffix("</w>".to_string())
        .build()?;
    let white_space = Replace::new(ReplacePattern::Regex(r"\s+".to_string()), " ")?;
    let pieces = SplitPattern::Regex(PIECES.to_string());
    let pieces = Split::new(pieces, SplitDelimiterBehavior::Removed, true)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(Normalizers::new(vec![
        NFC.into(),
        white_space.into(),
        Lowercase.into(),
    ])));
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        pieces.into(),
        ByteLevel::new(false, true, true).into(),
    ])));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::testing::tokenizer;

    /// Reference: transformers 5.23, `CLIPTokenizer.from_pretrained(<the folder>)(text,
    /// add_special_tokens=False).input_ids`; first padding with `<|endoftext|>`, then with `!`,
    /// which makes every `!` of a prompt the padding token.
    #[test]
    fn ids_of_transformers() {
        let (sd1, sd2) = (tokenizer("<|endoftext|>"), tokenizer("!"));
        let same: [(&str, &[u32]); 9] = [
            ("", &[]),
            ("  ", &[]),
            ("a photo of the dog", &[320, 518, 519, 514, 521]),
            ("A  Photo\tOF\nthe DOG", &[320, 518, 519, 514, 521]),
            ("they're 42", &[513, 68, 344, 6, 81, 324, 275, 273]),
            ("Café Cafe\u{301}", &[522, 69, 528, 522, 69, 528]),
            ("日", &[162, 245, 354]),
            ("<|endoftext|> dog", &[530, 521]),
            ("dog's can't", &[521, 524, 522, 333, 6, 339]),
        ];
        for (text, ids) in same {
            assert_eq!(sd1.encode(text), ids, "{text:?}");
            assert_eq!(sd2.encode(text), ids, "{text:?}");
        }
        assert_eq!(sd1.encode("wow!! dog"), [86, 78, 342, 527, 521]);
        assert_eq!(sd2.encode("wow!! dog"), [86, 78, 342, 0, 0, 521]);
    }

    #[test]
    fn special_ids_and_sizes() {
        let (sd1, sd2) = (tokenizer("<|endoftext|>"), tokenizer("!"));
        assert_eq!((sd1.bos(), sd1.eos(), sd1.pad()), (529, 530, 530));
        assert_eq!((sd2.bos(), sd2.eos(), sd2.pad()), (529, 530, 0));
        assert_eq!((sd1.context_length(), sd1.vocab_size()), (77, 531));
        assert_eq!(sd1.clone().with_context_length(16).context_length(), 16);
        assert_eq!(sd1.with_context_length(512).context_length(), 77);
    }

    #[test]
    fn ids_tell_whether_a_word_is_one_token() {
        let tokenizer = tokenizer("!");
        assert_eq!(tokenizer.encode("dog"), [521]);
        assert_eq!(tokenizer.encode(" wow "), [86, 78, 342]);
    }

    #[test]
    fn pieces_are_readable() {
        let tokenizer = tokenizer("!");
        let pieces = ["phot", "o", "s", "of", "the", "ca", "f", "é"];
        assert_eq!(tokenizer.pieces("Photos of the  Café"), pieces);
        assert_eq!(tokenizer.pieces("日"), ["\u{fffd}"; 3]);
        assert_eq!(tokenizer.pieces("<|endoftext|> dog"), ["<|endoftext|>", "dog"]);
    }
}
