//! What can be wrong with a model folder.

use std::path::{Path, PathBuf};

/// An error in a model folder, naming the file, the key and the fix.
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
    /// A config asks for something that is not implemented, or is no JSON.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No weights in a component's folder.
    #[error(
        "{} holds no weights: expected {expected}{hint}",
        folder.display()
    )]
    NoWeights {
        /// The component's folder.
        folder: PathBuf,
        /// The names that were looked for.
        expected: String,
        /// What to do about what was found instead.
        hint: &'static str,
    },
    /// A listing of files is no diffusers model with safetensors weights.
    #[error("it is no diffusers model with safetensors weights: there is no {missing}")]
    Incomplete {
        /// The first file that is missing.
        missing: String,
    },
    /// A file that should be a whole model is something else.
    #[error("{} is no single-file Stable Diffusion 1.x or 2.x: {reason}{hint}", path.display())]
    NotLdm {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
        /// What it seems to be, or nothing.
        hint: &'static str,
    },
    /// A file in Python's own format.
    #[error(
        "{} is a PyTorch pickle; save its `state_dict` as .safetensors first (in Python: \
         safetensors.torch.save_file), or use the model's diffusers folder",
        path.display()
    )]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A single file without a tokenizer beside it.
    #[error(
        "a single file holds no tokenizer, and {} is not there: copy the `tokenizer` folder of the \
         model's diffusers version to it, or give one with --tokenizer",
        folder.display()
    )]
    NoTokenizer {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A single file of a family in which models predict different things.
    #[error(
        "{} does not say what it predicts, and Stable Diffusion 2 models differ: add --prediction v \
         (2.x made for 768 pixels) or --prediction epsilon (2.x \"base\", made for 512)",
        path.display()
    )]
    UnknownPrediction {
        /// The file.
        path: PathBuf,
    },
    /// A weight file is cut off, damaged, or does not fit the config.
    #[error("{} does not fit its config:\n  {}", path.display(), problems.join("\n  "))]
    Weights {
        /// The weight file or its folder.
        path: PathBuf,
        /// One sentence per key, at most a dozen.
        problems: Vec<String>,
    },
    /// A weight file cannot be parsed.
    #[error("{} is damaged or cut off: {reason}; download or copy it again", path.display())]
    Damaged {
        /// The weight file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
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
