//! Errors in a tokenizer folder or a prompt.

use std::path::PathBuf;

/// Why a tokenizer could not be read, or a prompt could not be assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The folder holds no vocabulary.
    #[error(
        "{}: no tokenizer here; expected tokenizer.json, or vocab.json with merges.txt",
        folder.display()
    )]
    NoVocabulary {
        /// The folder.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not JSON, or a key holds a value of the wrong type.
    #[error("cannot parse {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        source: serde_json::Error,
    },
    /// A line of merges.txt is not two symbols with one space between them.
    #[error("{} line {line}: expected two symbols and a space, found {text:?}", path.display())]
    Merge {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The line's text.
        text: String,
    },
    /// A required key is missing.
    #[error("{}: key `{key}` is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// The file describes another kind of tokenizer.
    #[error("{}: `{key}` = {value} is not CLIP's; expected {expected}", path.display())]
    NotClip {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// The expected value.
        expected: &'static str,
    },
    /// A special token is not in the vocabulary.
    #[error("{}: `{key}` = {token:?} is not in the vocabulary", path.display())]
    NotInVocabulary {
        /// The file with the vocabulary.
        path: PathBuf,
        /// The key that names the token.
        key: &'static str,
        /// The token.
        token: String,
    },
    /// The vocabulary and the list of added tokens disagree.
    #[error(
        "{}: token {token:?} has id {id}, but is listed as added token {listed}",
        path.display()
    )]
    TwoIds {
        /// The file with the vocabulary.
        path: PathBuf,
        /// The token.
        token: String,
        /// Its id in the vocabulary.
        id: u32,
        /// Its id in the list of added tokens.
        listed: u32,
    },
    /// The merges do not fit the vocabulary.
    #[error("cannot build the tokenizer of {}: {source}", path.display())]
    Build {
        /// The file with the vocabulary.
        path: PathBuf,
        /// The reason of the tokenizers library.
        source: tokenizers::Error,
    },
    /// A concept's word is beyond the end of the context.
    #[error(
        "the prompt is too long: a concept's word would be token {position}, but the last of \
         the {context_length} positions is EOS; shorten the text before it"
    )]
    WordCut {
        /// Its position, where BOS is 0.
        position: usize,
        /// The length of the context.
        context_length: usize,
    },
}

impl TokenizerError {
    /// A key whose value is not CLIP's.
    pub(super) fn not_clip(
        path: PathBuf,
        key: &'static str,
        value: impl ToString,
        expected: &'static str,
    ) -> Self {
        Self::NotClip { path, key, value: value.to_string(), expected }
    }
}
