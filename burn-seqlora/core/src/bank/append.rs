//! Adding a concept to a bank.

use std::fs;

use seqlora_files::{remove_temporary, write_atomic, write_json};

use super::basis::BasisCache;
use super::formats::native;
use super::tensors::{Matrix, NamedTensors, to_safetensors};
use super::{BANK, Bank, ConceptRecord, EMBEDDINGS, TOKENS, TrainingRecord};
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
                path: self.path.clone(),
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
        record.check(self.sites()).map_err(Error::Invalid)?;
        if let Some(known) = self.like(&record.id) {
            return Err(Error::DuplicateConcept { id: known.into() });
        }
        self.check_method(&training.method)?;
        let folder = self.concept_folder(&record.id);
        if let Some(site) = adapter.misfit(self.sites()) {
            return Err(Error::damaged(folder, format!("the adapter of `{site}` fits no layer")));
        }
        self.check_parts(&record, adapter, &embeddings)?;
        fs::create_dir_all(&folder).map_err(Error::io("cannot create", &folder))?;
        remove_temporary(&folder)?;
        let tokens = NamedTensors::from([(EMBEDDINGS.to_string(), embeddings)]);
        let [adapter_file, tokens_file] = [native::FILE, TOKENS].map(|name| folder.join(name));
        for (name, file, bytes) in [
            (native::FILE, &adapter_file, native::to_bytes(&adapter_file, adapter)?),
            (TOKENS, &tokens_file, to_safetensors(&tokens_file, &tokens)?),
        ] {
            record.add_digest(name, &bytes);
            write_atomic(file, &bytes)?;
        }
        write_json(&folder.join("training.json"), training)?;
        write_json(&folder.join("concept.json"), &record)?;
        let mut bank = self.record.clone();
        bank.method = Some(training.method.clone());
        bank.concepts.push(record.id.clone());
        write_json(&self.path.join(BANK), &bank)?;
        self.record = bank;
        // If this fails, the cache is completed when it is read next.
        let _ = BasisCache::new(&self.path, self.sites()).append(self.concepts(), adapter);
        self.remove_checkpoint(&record.id)
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
    pub fn remove_checkpoint(&self, id: &str) -> Result<()> {
        let folder = self.checkpoint_folder(id);
        match folder.exists() {
            true => fs::remove_dir_all(&folder).map_err(Error::io("cannot remove", folder)),
            false => Ok(()),
        }
    }
}
