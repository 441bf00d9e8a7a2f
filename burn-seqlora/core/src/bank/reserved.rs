//! The files with B of removed concepts, to which later ones stay orthogonal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use seqlora_files::sha256;

use super::down::Down;
use super::{Bank, BankRecord, ConceptId, Reserved};
use crate::error::{Error, Result};

/// The folder of these files in that of the bank.
pub const FOLDER: &str = "reserved";

const EXTENSION: &str = "safetensors";

impl Reserved {
    /// The file in the bank's folder.
    pub fn file_inside(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.directions).with_extension(EXTENSION)
    }
}

impl Bank {
    /// Writes the directions of a concept that is about to be removed. They count once `bank.json` lists
    /// them.
    pub(super) fn write_reserved(
        &self,
        id: &ConceptId,
        group: Option<String>,
        down: &Down,
    ) -> Result<Reserved> {
        let bytes = down.to_bytes(&self.path().join(FOLDER), self.sites())?;
        let record = self.owner(id).record;
        let reserved = Reserved { id: id.clone(), record, group, directions: sha256(&bytes) };
        self.folder.create_folder(FOLDER)?;
        self.folder.write(reserved.file_inside(), &bytes)?;
        Ok(reserved)
    }

    /// Removes what a removal that did not come to its end has left, and then what `bank.json` says of it.
    pub(super) fn remove_leftovers(&mut self) -> Result<()> {
        for id in &self.record.leftovers {
            self.folder.remove(Self::inside(id))?;
        }
        let listed: BTreeSet<PathBuf> =
            self.record.reserved.iter().map(Reserved::file_inside).collect();
        for file in self.reserved_files() {
            if !listed.contains(&file) {
                self.folder.remove(file)?;
            }
        }
        if self.record.leftovers.is_empty() {
            return Ok(());
        }
        self.write_record(self.record.without_leftovers())
    }

    /// Makes a record the bank's.
    pub(super) fn write_record(&mut self, record: BankRecord) -> Result<()> {
        // What could not be read again is not written.
        record.check().map_err(Error::Invalid)?;
        self.folder.write_json(super::BANK, &record)?;
        self.record = record;
        Ok(())
    }

    /// Our files in the folder.
    fn reserved_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join(FOLDER)).into_iter().flatten().flatten();
        let is_ours = |name: &PathBuf| {
            let stem = name.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            stem.len() == 64 && name.extension().is_some_and(|extension| extension == EXTENSION)
        };
        let names = entries.map(|entry| PathBuf::from(entry.file_name())).filter(is_ours);
        names.map(|name| Path::new(FOLDER).join(name)).collect()
    }
}
