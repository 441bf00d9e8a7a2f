//! Adding a concept to a bank.

use std::path::Path;

use seqlora_files::{sha256, sha256_of_file, to_json};

use super::basis::{BasisCache, Block};
use super::down::Down;
use super::formats::native;
use super::tensors::{Matrix, NamedTensors, to_safetensors};
use super::{Bank, CONCEPT, ConceptRecord, EMBEDDINGS, METRICS, TOKENS, TRAINING, TrainingRecord};
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
        record: ConceptRecord,
        training: &TrainingRecord,
        adapter: &StoredAdapter,
        embeddings: Matrix,
    ) -> Result<()> {
        let id = record.id.clone();
        if let Some(known) = self.like(&id) {
            return Err(Error::DuplicateConcept { id: known.into() });
        }
        let folder = self.training_inside(&id);
        let (record, sha256) = self.write_files(&folder, record, training, adapter, embeddings)?;
        self.write_record(self.record.with(&id, sha256, &training.method))?;
        // If this fails, the cache is completed when it is read next.
        let _ = self.basis_cache().append(&self.owners(), Block::of(&record, Down::of(adapter)));
        self.remove_finished_checkpoint(&id)
    }

    /// Writes all files of a concept to a folder of the bank; its record with their digests, and SHA-256 of that.
    ///
    /// # Errors
    /// Those of [`append`](Self::append) but for the id.
    pub(super) fn write_files(
        &self,
        folder: &Path,
        mut record: ConceptRecord,
        training: &TrainingRecord,
        adapter: &StoredAdapter,
        embeddings: Matrix,
    ) -> Result<(ConceptRecord, String)> {
        let file = |name: &str| self.path().join(folder).join(name);
        record.check(self.sites()).map_err(Error::Invalid)?;
        self.check_method(&training.method)?;
        if let Some(site) = adapter.misfit(self.sites()) {
            let reason = format!("the adapter of `{site}` fits no layer");
            return Err(Error::damaged(file(native::FILE), reason));
        }
        self.check_parts(&record, adapter, &embeddings)?;
        let tokens = NamedTensors::from([(EMBEDDINGS.to_string(), embeddings)]);
        let files = [
            (native::FILE, native::to_bytes(&file(native::FILE), adapter)?),
            (TOKENS, to_safetensors(&file(TOKENS), &tokens)?),
            (TRAINING, to_json(&file(TRAINING), training)?),
        ];
        self.folder.create_folder(folder)?;
        self.folder.remove_temporary(folder)?;
        // What a record of another bank says of files is not so here.
        record.digests.clear();
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
        Ok((record, sha256(&bytes)))
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
}
