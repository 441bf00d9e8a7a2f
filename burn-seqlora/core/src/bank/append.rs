//! Adding a concept to a bank.

use seqlora_files::{sha256, sha256_of_file, to_json};

use super::basis::{BasisCache, Block};
use super::down::Down;
use super::formats::native;
use super::tensors::{Matrix, NamedTensors, to_safetensors};
use super::{
    BANK, Bank, CONCEPT, ConceptId, ConceptRecord, EMBEDDINGS, METRICS, TOKENS, TRAINING,
    TrainingRecord,
};
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

impl Bank {
    /// Checks that concepts of a method may be added.
    ///
    /// # Errors
    /// If it holds concepts of another method.
    pub fn check_method(&self, method: &str) -> Result<()> {
        match self.method() {
            Some(bank) if bank != method => Err(Error::OtherMethod {
                path: self.path().into(),
                bank: bank.into(),
                method: method.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Adds a concept. Everything is on disk before `bank.json` lists it.
    ///
    /// # Errors
    /// If the record is not valid, the id is taken, the method is another one, the adapter does not fit
    /// the bank's sites or the disk is full; the bank is then as before.
    pub fn append(
        &mut self,
        mut record: ConceptRecord,
        training: &TrainingRecord,
        adapter: &StoredAdapter,
        embeddings: Matrix,
    ) -> Result<()> {
        let id = record.id.clone();
        record.check(self.sites()).map_err(Error::Invalid)?;
        if let Some(known) = self.like(&id) {
            return Err(Error::DuplicateConcept { id: known.into() });
        }
        self.check_method(&training.method)?;
        if let Some(site) = adapter.misfit(self.sites()) {
            let reason = format!("the adapter of `{site}` fits no layer");
            return Err(Error::damaged(self.concept_folder(&id), reason));
        }
        self.check_parts(&record, adapter, &embeddings)?;
        let tokens = NamedTensors::from([(EMBEDDINGS.to_string(), embeddings)]);
        let file = |name: &str| self.concept_folder(&id).join(name);
        let files = [
            (native::FILE, native::to_bytes(&file(native::FILE), adapter)?),
            (TOKENS, to_safetensors(&file(TOKENS), &tokens)?),
            (TRAINING, to_json(&file(TRAINING), training)?),
        ];
        let folder = Self::inside(&id);
        self.folder.create_folder(&folder)?;
        self.folder.remove_temporary(&folder)?;
        for (name, bytes) in files {
            record.add_digest(name, sha256(&bytes));
            self.folder.write(folder.join(name), &bytes)?;
        }
        // Training has written it step by step.
        if file(METRICS).exists() {
            record.add_digest(METRICS, sha256_of_file(&file(METRICS))?);
        }
        let bytes = to_json(&file(CONCEPT), &record)?;
        self.folder.write(folder.join(CONCEPT), &bytes)?;
        let bank = self.record.with(&id, sha256(&bytes), &training.method);
        self.folder.write_json(BANK, &bank)?;
        self.record = bank;
        // If this fails, the cache is completed when it is read next.
        let _ = self.basis_cache().append(&self.owners(), Block::of(&record, Down::of(adapter)));
        self.remove_checkpoint(&id)
    }

    /// The cache of the columns of B.
    pub(super) fn basis_cache(&self) -> BasisCache<'_> {
        BasisCache::new(&self.folder, self.sites())
    }

    /// Checks that a record describes these parts, as reading does.
    fn check_parts(
        &self,
        record: &ConceptRecord,
        adapter: &StoredAdapter,
        (shape, values): &Matrix,
    ) -> Result<()> {
        let invalid = |what: &str| Err(Error::Invalid(format!("`{}`: {what}", record.id)));
        if record.ranks(self.sites()) != adapter.ranks(self.sites()) {
            return invalid("its record and its adapter differ in their ranks");
        }
        if *shape != self.embeddings_shape(record) || values.len() != shape[0] * shape[1] {
            return invalid("its record and its token embeddings differ in shape");
        }
        Ok(())
    }

    /// Removes a concept's training state, if there is one.
    pub fn remove_checkpoint(&self, id: &ConceptId) -> Result<()> {
        Ok(self.folder.remove(Self::checkpoint_inside(id))?)
    }
}
