//! What can go wrong between a folder on disk and a training example.

use std::io;
use std::path::{Path, PathBuf};

use seqlora_files::{FileError, plain};
use thiserror::Error;

/// An error in the training data. Every message names the file, the key if there is one, and what to
/// do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be read: it is missing, no regular file, or too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// An image or mask cannot be used.
    #[error("{}: {reason}; {fix}", path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the user can do about it.
        fix: &'static str,
    },
    /// Images of one concept that cannot be used. It lists all of them, so that one run finds them all.
    #[error("{} images of concept `{concept}` cannot be used:{}", errors.len(), bullets(errors))]
    Images {
        /// Id of the concept.
        concept: String,
        /// One error per bad image, in the order of the manifest.
        errors: Vec<DataError>,
    },
    /// An image does not tell how it was made.
    #[error("{}: {reason}", path.display())]
    Parameters {
        /// The image file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest or metadata file holds a bad value.
    #[error("{}: {key}: {reason}", path.display())]
    Manifest {
        /// The manifest file.
        path: PathBuf,
        /// Key or line, such as `concept[2].images` or `line 4`.
        key: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// No layout is recognised in a path.
    #[error(
        "no training images in {}\n  found: {found}{}\n  one of these layouts is expected:{LAYOUTS}",
        path.display(), suggestion(near.as_deref())
    )]
    NoImages {
        /// The path.
        path: PathBuf,
        /// A summary of what is there.
        found: String,
        /// A nearby path that holds images.
        near: Option<PathBuf>,
    },
    /// Two concepts have the same id.
    #[error(
        "concept id `{id}` is used twice, by {first} and by {second}; \
         rename one of them (ids are compared without regard to case)"
    )]
    DuplicateId {
        /// The id.
        id: String,
        /// Where it occurs first.
        first: String,
        /// Where it occurs again.
        second: String,
    },
    /// An id that cannot be a folder's name.
    #[error(
        "{origin}: `{id}` is not a valid concept id; use letters A-Z a-z, digits, `.`, `_`, `-`, \
         at most 100 of them, the first a letter or digit (set `id`, or rename the folder)"
    )]
    InvalidId {
        /// The rejected id.
        id: String,
        /// Where it comes from.
        origin: String,
    },
    /// The name of the folder does not tell the class word.
    #[error(
        "{origin}: the name `{name}` does not tell the class word (what the subject is: dog, teapot, \
         ...); set `class`, or rename the folder"
    )]
    ClassWord {
        /// Where the concept comes from.
        origin: String,
        /// The name that was tried.
        name: String,
    },
    /// A CustomConcept101 list names folders that do not exist.
    #[error(
        "{}: {} of {total} image folders (`instance_data_dir`) are missing under {}: {}; \
         set `images_root` to the folder that holds `benchmark_dataset`",
        path.display(), missing.len(), root.display(), first_names(missing)
    )]
    MissingFolders {
        /// The JSON file.
        path: PathBuf,
        /// The folder that was searched.
        root: PathBuf,
        /// `instance_data_dir` of the entries without a folder.
        missing: Vec<String>,
        /// Number of entries in the file.
        total: usize,
    },
    /// An option that cannot be used.
    #[error("{name}: {reason}")]
    Option {
        /// The name of the option.
        name: &'static str,
        /// What is wrong and what is expected.
        reason: String,
    },
}

/// The layouts that [`Manifest::discover`](super::Manifest::discover) accepts, as help text.
const LAYOUTS: &str = "
    FOLDER/*.jpg                           one concept, named after the folder
    FOLDER/<concept>/*.jpg                 one concept per sub-folder
    FOLDER/<repeats>_<name> <class>/*.jpg  the same, as kohya's sd-scripts name them
    FOLDER/metadata.jsonl + images         one concept with captions (file_name, text)
    FOLDER/prompts_and_classes.txt + <subject>/*.jpg   the google/dreambooth data set
    FILE.toml                              [[concept]] id, class, images, ...
    FILE.json                              a CustomConcept101 dataset.json
  images are PNG, JPEG, WebP or BMP files";

impl DataError {
    /// For `map_err`: an I/O error on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// A bad value of `key` in the manifest `path`.
    pub(crate) fn manifest(path: &Path, key: impl Into<String>, reason: impl ToString) -> Self {
        Self::Manifest { path: path.into(), key: key.into(), reason: plain(&reason.to_string()) }
    }

    /// An image that cannot be used.
    pub(crate) fn image(path: &Path, reason: impl ToString, fix: &'static str) -> Self {
        Self::Image { path: path.to_path_buf(), reason: reason.to_string(), fix }
    }
}

impl From<DataError> for seqlora_core::Error {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

fn suggestion(near: Option<&Path>) -> String {
    near.map(|path| format!("\n  did you mean {}?", path.display())).unwrap_or_default()
}

fn bullets(errors: &[DataError]) -> String {
    errors.iter().map(|error| format!("\n  - {error}")).collect()
}

fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let list = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{list}, ...") } else { list }
}
