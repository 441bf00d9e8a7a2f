//! The bank: the ordered, append-only set of learnt concepts on disk.
//!
//! ```text
//! BANK/bank.json                          version, base model, method, sites, order of the concepts,
//!                                         SHA-256 of each concept.json
//! BANK/concepts/<id>/adapter.safetensors  <site>.lora_up [n, r], <site>.lora_down [r, m], f32
//! BANK/concepts/<id>/tokens.safetensors   embeddings [words × embeddings per word, width], f32
//! BANK/concepts/<id>/concept.json         what inference needs: words, sites with their sizes, SHA-256
//!                                         of the concept's other files
//! BANK/concepts/<id>/training.json        how it was trained: images, settings, losses
//! BANK/concepts/<id>/metrics.jsonl        one line per training step
//! BANK/concepts/<id>/checkpoint/          only while the concept is being trained
//! BANK/concepts/<id>/<n>/                 all of these of a concept that was trained further n times
//! BANK/basis/                             the columns of B of all concepts, a cache
//! BANK/reserved/<sha256>.safetensors      <site>.lora_down [r, m] of a removed concept, to which later
//!                                         ones stay orthogonal
//! ```
//!
//! The stored B has orthonormal columns, so a layer's basis Q is the B of all concepts concatenated.
//! With plain LoRA that holds within a concept only; a bank holds the concepts of one method, so that its
//! name tells whether they interfere where they are added. A concept counts while `bank.json` lists it;
//! before and after that nothing refers to its folder. Where it was trained further, `bank.json` has the number of
//! the folder that counts.

mod append;
mod basis;
mod concept;
mod down;
mod earlier;
mod export;
pub mod formats;
mod id;
mod import;
mod inspect;
mod legacy;
mod merge;
mod open;
mod overlap;
mod places;
mod read;
mod record;
mod remove;
mod replace;
mod reserved;
mod tensors;
#[cfg(test)]
mod tests;
mod verify;
mod versions;

pub use crate::merge_error::MergeError;
pub use concept::{AdaptedSite, ConceptRecord, TrainingRecord};
pub use export::{
    ExportedAdapter, WordEmbeddings, composed_adapter, export_adapter, export_words,
    word_embeddings,
};
pub use id::{ConceptId, InvalidId, is_concept_id};
pub use import::{GaugedAdapter, gauged};
pub use inspect::{ConceptState, LARGEST_OVERLAP, Problem};
pub use merge::merge_banks;
pub use overlap::{max_overlap, overlaps};
pub use record::{BankRecord, BaseModel, Reserved};
pub use remove::{Directions, Removal};
pub(crate) use tensors::{BorrowedTensors, parse_tensors, write_arrays};
pub use tensors::{Matrix, NamedTensors, read_tensors, to_safetensors, write_tensors};

pub use verify::{PairOverlap, ReservedState, SiteOverlap, Verification};

use std::path::{Path, PathBuf};

use seqlora_files::{FolderLock, GuardedFolder};

use crate::lora::Site;

/// The bank's record, which lists the concepts that count.
const BANK: &str = "bank.json";

/// The folder of all concepts, and that of a training state in a concept's own.
const CONCEPTS: &str = "concepts";
const CHECKPOINT: &str = "checkpoint";

/// What inference needs of a concept, how it was trained, and every step of that.
const CONCEPT: &str = "concept.json";
const TRAINING: &str = "training.json";
const METRICS: &str = "metrics.jsonl";

/// The file with a concept's token embeddings, and their name in it.
const TOKENS: &str = "tokens.safetensors";
const EMBEDDINGS: &str = "embeddings";

/// An open bank.
#[derive(Debug)]
pub struct Bank {
    /// All that is written goes through it.
    folder: GuardedFolder,
    record: BankRecord,
    /// Held while this process may write.
    _lock: Option<FolderLock>,
}

impl Bank {
    /// Whether this process may write to it.
    fn is_writable(&self) -> bool {
        self._lock.is_some()
    }

    /// The method of all its concepts; `None` while there are none.
    pub fn method(&self) -> Option<&str> {
        self.record.method.as_deref()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The ids of the concepts, in the order in which they were learnt.
    pub fn concepts(&self) -> &[ConceptId] {
        &self.record.concepts
    }

    /// What is left of removed concepts: directions that later ones stay orthogonal to.
    pub fn removed_concepts(&self) -> &[Reserved] {
        &self.record.reserved
    }

    /// The ids of all whose directions there are: removed concepts, then the bank's.
    pub(crate) fn earlier(&self) -> Vec<String> {
        self.owners().into_iter().map(|owner| owner.id.into()).collect()
    }

    /// Whether a concept is in the bank.
    pub fn contains(&self, id: &str) -> bool {
        self.record.concepts.iter().any(|known| *known == id)
    }

    /// The concept with this id, or with one that would share its folder on macOS and Windows.
    pub fn like(&self, id: &str) -> Option<&str> {
        self.concepts().iter().find(|known| known.eq_ignore_ascii_case(id)).map(ConceptId::as_str)
    }

    /// The sites of its base model.
    pub fn sites(&self) -> &[Site] {
        &self.record.sites
    }

    /// Its base model.
    pub fn base(&self) -> &BaseModel {
        &self.record.base
    }

    /// The folder with the files of a concept.
    pub fn concept_folder(&self, id: &ConceptId) -> PathBuf {
        self.path().join(self.files_inside(id))
    }

    /// The folder of the state of a concept that is being trained, for the first time or further.
    pub fn checkpoint_folder(&self, id: &ConceptId) -> PathBuf {
        self.path().join(self.checkpoint_inside(id))
    }

    /// What is written while a concept is trained goes through this: its metrics and its training state.
    pub(crate) fn folder(&self) -> &GuardedFolder {
        &self.folder
    }

    /// All of a concept, in the bank's folder.
    fn inside(id: &ConceptId) -> PathBuf {
        Path::new(CONCEPTS).join(id.as_str())
    }

    /// The folder of a concept trained further so many times, in the bank's folder.
    fn revision_inside(id: &ConceptId, revision: u32) -> PathBuf {
        match revision {
            0 => Self::inside(id),
            revision => Self::inside(id).join(revision.to_string()),
        }
    }

    /// The folder with the files of a concept that count, in the bank's folder.
    fn files_inside(&self, id: &ConceptId) -> PathBuf {
        Self::revision_inside(id, self.record.revision(id))
    }

    /// The folder with the files of a concept that is being trained, in the bank's folder: another one than that of
    /// its files that count.
    pub(crate) fn training_inside(&self, id: &ConceptId) -> PathBuf {
        let further = u32::from(self.contains(id));
        Self::revision_inside(id, self.record.revision(id) + further)
    }

    /// The folder of a training state, in the bank's folder.
    pub(crate) fn checkpoint_inside(&self, id: &ConceptId) -> PathBuf {
        self.training_inside(id).join(CHECKPOINT)
    }

    /// The file with the metrics of a concept that is being trained, in the bank's folder.
    pub(crate) fn metrics_inside(&self, id: &ConceptId) -> PathBuf {
        self.training_inside(id).join(METRICS)
    }
}
