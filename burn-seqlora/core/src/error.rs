//! What can go wrong, in sentences that name the file, the setting and the fix.

use std::path::PathBuf;

use seqlora_files::FileError;

use crate::diffusion::schedule::ScheduleError;
use crate::merge_error::MergeError;
use crate::nearest::nearest;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the method, the bank or the data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, written or understood.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to read.
    #[error("there is no {}: learning a concept makes a bank, or choose another", path.display())]
    NoBank {
        /// The bank's record.
        path: PathBuf,
    },
    /// A folder that is no bank stands where the bank should be.
    #[error("{} is not a bank (it has no bank.json) and is not empty; choose another folder", path.display())]
    NotABank {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a bank was written by a program that is newer than this one.
    #[error(
        "{} has version {version}, and this program reads versions up to {known}; use a newer one",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The newest version that is read.
        known: u32,
    },
    /// The bank belongs to another base model.
    #[error(
        "{} was made for another base model\n  the bank's base: {bank}\n  this model:      {model}\n\
         use the model that the bank was made with, or start a new bank",
        path.display()
    )]
    OtherBase {
        /// The bank.
        path: PathBuf,
        /// The fingerprint in the bank.
        bank: String,
        /// The fingerprint of the model at hand.
        model: String,
    },
    /// The bank holds concepts of another method.
    #[error(
        "{} holds concepts learnt with `{bank}`, and a bank holds those of one method; \
         use the method `{bank}`, or another bank for `{method}`",
        path.display()
    )]
    OtherMethod {
        /// The bank.
        path: PathBuf,
        /// The method of its concepts.
        bank: String,
        /// The method asked for.
        method: String,
    },
    /// Fused weights do not go with the model, the bank or the concepts that they are to be used with.
    #[error("{} is not for this: {reason}; choose other concepts, or fuse again", file.display())]
    OtherFusion {
        /// The file of fused weights.
        file: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A file holds an adapter of a kind that is not read.
    #[error("{}: {kind}", path.display())]
    OtherAdapter {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// An adapter's factors have other sizes than the model's layers.
    #[error("{} is an adapter of another model: {reason}", path.display())]
    AdapterOfOtherModel {
        /// The file, or the folder.
        path: PathBuf,
        /// The module, and how the sizes differ.
        reason: String,
    },
    /// Banks cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A concept with this id is in the bank already.
    #[error("the bank already holds a concept `{id}`; give the new one another id")]
    DuplicateConcept {
        /// The id.
        id: String,
    },
    /// A concept that is to be used cannot be read.
    #[error(
        "concept `{id}` cannot be used: {source}; leave it out, or restore its folder from a copy of the bank"
    )]
    DamagedConcept {
        /// The id.
        id: String,
        /// What is wrong with its files.
        source: FileError,
    },
    /// A concept that further ones have to stay orthogonal to cannot be read.
    #[error(
        "further concepts have to stay orthogonal to `{id}`, which is damaged: {source}; restore its \
         folder from a copy of the bank, or go on without it: remove it from {} and free its directions",
        bank.display()
    )]
    DamagedEarlier {
        /// The id.
        id: String,
        /// The bank.
        bank: PathBuf,
        /// What is wrong with its files.
        source: FileError,
    },
    /// The directions of a concept that is to be removed cannot be kept.
    #[error(
        "the directions of `{id}` cannot be kept, because they can be read neither from it nor from the \
         cache: {source}; restore its folder from a copy of the bank, or free its directions"
    )]
    UnreadableDirections {
        /// The id.
        id: String,
        /// What is wrong with its files.
        source: FileError,
    },
    /// A concept is being trained on a bank that is to lose or get another one.
    #[error(
        "`{id}` is being trained, and goes on from the concepts that were there when that began; resume \
         it first, or delete {} to give it up",
        checkpoint.display()
    )]
    Unfinished {
        /// The concept in training.
        id: String,
        /// The folder with its state.
        checkpoint: PathBuf,
    },
    /// A prompt or an option names a concept that is not there.
    #[error("there is no concept <{id}>; {}", known_concepts(id, known))]
    UnknownConcept {
        /// The id.
        id: String,
        /// The known ones.
        known: Vec<String>,
    },
    /// There is no method, fusion or format of this name.
    #[error("unknown {what} `{name}`; choose one of {}", known.join(", "))]
    UnknownName {
        /// What kind of thing it names.
        what: &'static str,
        /// The name.
        name: String,
        /// All that there are.
        known: Vec<&'static str>,
    },
    /// A training run was interrupted here and has to be resumed or given up first.
    #[error(
        "{} holds a training run of `{id}` interrupted at step {step}; \
         resume it, or delete {} to give it up",
        bank.display(), checkpoint.display()
    )]
    Interrupted {
        /// The bank.
        bank: PathBuf,
        /// The concept in training.
        id: String,
        /// The step reached.
        step: usize,
        /// The folder with the state.
        checkpoint: PathBuf,
    },
    /// A resumed run does not have the settings that it was started with.
    #[error("cannot resume `{id}`: {difference}; use the same settings as before")]
    ResumeMismatch {
        /// The concept in training.
        id: String,
        /// What differs.
        difference: String,
    },
    /// The bank that a run adds to is not the one that it was any more.
    #[error(
        "{} was removed or changed while a concept was learnt, so that it cannot be added; restore the \
         bank and resume, or start again with another bank",
        path.display()
    )]
    BankChanged {
        /// The bank.
        path: PathBuf,
    },
    /// Training would take more memory than there is.
    #[error(
        "training takes about {:.1} GB of memory besides the model, and {:.1} GB are available; set `memory` to \
         low, lower `micro_batch`, `batch` or `resolution`, set `precision` to bf16, or force the start",
        *needed as f64 / 1e9, *available as f64 / 1e9
    )]
    TooLittleMemory {
        /// Bytes that are needed besides the model.
        needed: u64,
        /// Bytes that are available.
        available: u64,
    },
    /// The receiver of progress stopped it before training began.
    #[error("stopped before training began; nothing has changed")]
    Stopped,
    /// All layers are full, or some have too little room and `strict_capacity` is set.
    #[error(
        "no capacity left for `{id}` at rank {rank}: {sites} of {selected} sites are full, or leave \
         less than the rank to each of the announced `concepts` (first: {first}); use a lower `rank`, \
         fewer `concepts`, fewer `protected_directions`, other `sites`, or no `strict_capacity`"
    )]
    NoCapacity {
        /// The concept.
        id: String,
        /// The wanted rank.
        rank: usize,
        /// The number of sites concerned.
        sites: usize,
        /// The number of selected sites.
        selected: usize,
        /// The first of them.
        first: String,
    },
    /// The loss or its derivative is not a number.
    #[error(
        "the {what} of `{id}` is {value} at step {step}; lower `lr_unet`, `lr_text` or `lr_token`, or \
         check the images and the model; the bank is unchanged"
    )]
    NotFinite {
        /// The concept.
        id: String,
        /// The step.
        step: usize,
        /// Which of them.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// An image holds numbers that are not finite.
    #[error(
        "an image came out as numbers that are not finite: take a lower guidance or the precision f32, or \
         check the model and the bank"
    )]
    ImageNotFinite,
    /// A setting has no meaning.
    #[error("{0}")]
    Invalid(String),
    /// The text encoder or tokenizer cannot take a prompt.
    #[error("{0}")]
    Prompt(String),
    /// The training data cannot be used.
    #[error(transparent)]
    Data(Box<dyn std::error::Error + Send + Sync>),
    /// The scheduler's settings cannot be used.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

fn known_concepts(id: &str, known: &[String]) -> String {
    let names = known.join(", ");
    match nearest(id, known.iter().map(String::as_str)) {
        _ if known.is_empty() => {
            "none are known: give a bank that holds it, or write it without < >".into()
        }
        Some(near) => format!("did you mean <{near}>? known: {names}"),
        None => format!("known: {names}"),
    }
}

impl Error {
    /// There is no concept of this id among the known ones.
    pub fn unknown_concept<'a>(
        id: impl Into<String>,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known = known.into_iter().map(String::from).collect();
        Self::UnknownConcept { id: id.into(), known }
    }

    /// For `map_err` on file operations.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let error = FileError::io(action, path);
        move |source| Self::File(error(source))
    }

    /// What is wrong with a damaged file, and what helps; other errors stay as they are.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        match self {
            Self::File(FileError::Damaged { path, reason }) => {
                Self::damaged(path, format!("{reason}; {advice}"))
            }
            other => other,
        }
    }

    /// A file that is there but cannot be understood.
    pub fn damaged(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File(FileError::Damaged { path: path.into(), reason: reason.to_string() })
    }
}
