//! Errors in a tokenizer folder or a prompt.

use std::path::PathBuf;

use seqlora_files::{FileError, printable};

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
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not JSON, or a key holds a value of the wrong type.
    #[error("cannot parse {}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with the key, or with line and column.
        reason: String,
    },
    /// There is no merge at all, although the vocabulary has words.
    #[error(
        "{} holds no merges, but the vocabulary has the token `{}`, which only merges can make; \
         copy the file again",
        path.display(), printable(token)
    )]
    NoMerges {
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// A merge of symbols that are no tokens.
    #[error(
        "{} line {line}: the token `{}` is not in the vocabulary; the merges and the vocabulary belong \
         to different tokenizers, or one of them is damaged",
        path.display(), printable(token)
    )]
    MergeToken {
        /// The file with the merges.
        path: PathBuf,
        /// The line, counted from 1; in tokenizer.json, the number of the merge.
        line: usize,
        /// The token that is missing.
        token: String,
    },
    /// Two tokens have the same id.
    #[error(
        "{}: the tokens `{}` and `{}` both have the id {id}; copy the file again",
        path.display(), printable(&tokens[0]), printable(&tokens[1])
    )]
    SameId {
        /// The file with the vocabulary.
        path: PathBuf,
        /// The id.
        id: u32,
        /// The tokens.
        tokens: [String; 2],
    },
    /// A line of merges.txt is not two symbols with one space between them.
    #[error(
        "{} line {line}: expected two symbols and a space, found `{}`",
        path.display(), printable(text)
    )]
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
    #[error("{}: `{key}` = {} is not CLIP's; expected {expected}", path.display(), printable(value))]
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
    #[error("{}: `{key}` = `{}` is not in the vocabulary", path.display(), printable(token))]
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
        "{}: the token `{}` has id {id}, but is listed as added token {listed}",
        path.display(), printable(token)
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
    /// The tokenizers library refuses the vocabulary.
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
