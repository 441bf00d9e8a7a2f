//! What can be wrong with a tokenizer folder or a prompt.

use std::path::PathBuf;

/// Why a tokenizer could not be read or a prompt not be put together.
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
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not JSON, or a key holds a value of the wrong type.
    #[error("cannot parse {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
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
    /// A key that must be there is missing.
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
        /// What the key must hold.
        expected: &'static str,
    },
    /// A special token has no id.
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
        /// What the tokenizers library said.
        source: tokenizers::Error,
    },
    /// A concept's word lies beyond the context.
    #[error(
        "the prompt is too long: a concept's word would be token {position}, and the last of \
         {context_length} positions is kept for EOS; shorten the text before it"
    )]
    WordCut {
        /// Its position, BOS being 0.
        position: usize,
        /// Length of the context.
        context_length: usize,
    },
}
