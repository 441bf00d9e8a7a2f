//! Errors in the files of a model.

use std::path::{Path, PathBuf};

use seqlora_files::{FileError, printable};

/// An error in the files of a model. Every message names the file, the key and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Something other than a file of its kind stands where a file should be.
    #[error(transparent)]
    File(FileError),
    /// A config is not JSON, or needs something that is not implemented.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A component's folder holds no weights.
    #[error(
        "{} holds no weights: expected {expected}{hint}",
        folder.display()
    )]
    NoWeights {
        /// The component's folder.
        folder: PathBuf,
        /// The names that were looked for.
        expected: String,
        /// What to do with a file that was found instead.
        hint: &'static str,
    },
    /// A listing of files is not a diffusers model with safetensors weights.
    #[error("it is not a diffusers model with safetensors weights: there is no {missing}")]
    Incomplete {
        /// The first file that is missing.
        missing: String,
    },
    /// A folder or a file holds no image or text encoder that is known.
    #[error("{} holds no encoder that is known: {reason}", path.display())]
    NoEncoder {
        /// The folder or the file.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// A file is not a whole model.
    #[error("{} is not a single-file Stable Diffusion 1.x or 2.x: {reason}{hint}", path.display())]
    NotLdm {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
        /// What it seems to be instead; may be empty.
        hint: &'static str,
    },
    /// There is no tokenizer next to a single file.
    #[error(
        "a single file holds no tokenizer, and there is no folder {}: copy the `tokenizer` folder of \
         the model's diffusers version to it, or give the folder of a tokenizer",
        folder.display()
    )]
    NoTokenizer {
        /// The folder that was expected.
        folder: PathBuf,
    },
    /// A single file does not say what its UNet predicts, and other models of its family differ.
    #[error(
        "{} does not say what it predicts, and Stable Diffusion 2 models differ: say which, v (2.x \
         models for 768 pixels) or epsilon (2.x \"base\" models for 512 pixels)",
        path.display()
    )]
    UnknownPrediction {
        /// The file.
        path: PathBuf,
    },
    /// The weights do not fit the config.
    #[error("{} does not fit its config:\n  {}", path.display(), problems.join("\n  "))]
    Weights {
        /// The weight file, or the folder of all shards.
        path: PathBuf,
        /// One sentence per key, for at most twelve keys.
        problems: Vec<String>,
    },
    /// A weight file is damaged or truncated.
    #[error("{} is damaged or truncated: {reason}; download or copy it again", path.display())]
    Damaged {
        /// The weight file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The tokenizer has a token for which the text encoder has no embedding.
    #[error(
        "{} gives the token `{}` the id {id}, but the model's text encoder has {embeddings} embeddings \
         (`vocab_size`), for the ids below that: use the tokenizer that belongs to the model",
        tokenizer.display(), printable(token)
    )]
    Vocabulary {
        /// The tokenizer's folder.
        tokenizer: PathBuf,
        /// The token with the highest id.
        token: String,
        /// Its id.
        id: u32,
        /// The number of embeddings.
        embeddings: usize,
    },
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// The scheduler cannot be used.
    #[error("{}: {source}", path.display())]
    Schedule {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: seqlora_core::diffusion::ScheduleError,
    },
}

impl From<FileError> for ModelError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source, .. } => Self::Io { path, source },
            FileError::Damaged { path, reason } => Self::Damaged { path, reason },
            other => Self::File(other),
        }
    }
}

impl ModelError {
    /// An error in a config file.
    pub fn config(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Config { path: path.into(), reason: reason.to_string() }
    }

    /// For `map_err` on file operations.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
