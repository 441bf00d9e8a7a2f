//! Putting a concept that was trained further in the place of what it was.
//!
//! Its files are written to a folder of their own. Then `bank.json` names that folder, and the files that counted
//! before are removed. A process that ends in between leaves the concept as it was or as it has become, and
//! the next one that opens the bank to write removes the rest.

use super::formats::native;
use super::record::MOST_REVISIONS;
use super::tensors::Matrix;
use super::{
    Bank, CHECKPOINT, CONCEPT, ConceptId, ConceptRecord, METRICS, TOKENS, TRAINING, TrainingRecord,
};
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

/// The files of a concept.
const FILES: [&str; 5] = [CONCEPT, native::FILE, TOKENS, TRAINING, METRICS];

impl Bank {
    /// Puts a concept in the place of that with the same id, whose place in the order it keeps.
    ///
    /// # Errors
    /// If there is none, it has another rank at a site, or the disk is full; the bank is then as before. Those of
    /// [`append`](Self::append).
    pub fn replace(
        &mut self,
        record: ConceptRecord,
        training: &TrainingRecord,
        adapter: &StoredAdapter,
        embeddings: Matrix,
    ) -> Result<()> {
        let id = self.find(&record.id)?.clone();
        if self.record(&id)?.sites != record.sites {
            let text = format!("`{id}` has other ranks than the concept that it replaces");
            return Err(Error::Invalid(text));
        }
        if self.record.revision(&id) == MOST_REVISIONS {
            return Err(Error::Invalid(format!("`{id}` was replaced {MOST_REVISIONS} times")));
        }
        let folder = self.training_inside(&id);
        let (_, sha256) = self.write_files(&folder, record, training, adapter, embeddings)?;
        self.write_record(self.record.with_next(&id, sha256))?;
        // If this fails, there are blocks of nobody in the cache, which are passed over.
        let _ = self.basis_cache().keep_only(&self.owners());
        self.remove_former(&id)?;
        self.remove_finished_checkpoint(&id)
    }

    /// Removes what a concept was before it was trained further the last time.
    pub(super) fn remove_former(&self, id: &ConceptId) -> Result<()> {
        match self.record.revision(id) {
            0 => {}
            1 => {
                for name in FILES {
                    self.folder.remove(Self::inside(id).join(name))?;
                }
            }
            revision => self.folder.remove(Self::revision_inside(id, revision - 1))?,
        }
        Ok(())
    }

    /// Removes the training state of a concept that has just been finished, if there still is one.
    pub(super) fn remove_finished_checkpoint(&self, id: &ConceptId) -> Result<()> {
        Ok(self.folder.remove(self.files_inside(id).join(CHECKPOINT))?)
    }
}
