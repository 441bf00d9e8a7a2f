//! The bank: the ordered, append-only set of learnt concepts on disk.
//!
//! ```text
//! BANK/bank.json                          version, base model, method, sites, order of the concepts
//! BANK/concepts/<id>/adapter.safetensors  <site>.lora_up [n, r], <site>.lora_down [r, m], f32
//! BANK/concepts/<id>/tokens.safetensors   rows [words × rows per word, width], f32
//! BANK/concepts/<id>/concept.json         provenance: images, settings, losses, ranks
//! BANK/concepts/<id>/metrics.jsonl        one line per training step
//! BANK/concepts/<id>/checkpoint/          only while the concept is being trained
//! ```
//!
//! The stored B has orthonormal columns, so a layer's basis Q is simply the B of all concepts side
//! by side. With plain LoRA that holds within a concept only; a bank holds the concepts of one method,
//! so that its name tells whether they interfere where they are added. A concept counts once
//! `bank.json` lists it; until then nothing refers to its folder.

mod files;
mod lock;
mod overlap;
mod record;
mod stored;

use files::{is_temporary, remove_temporary};
pub use files::{read_json, write_atomic, write_json, write_new};
pub use lock::FolderLock;
use lock::LOCK;
pub use overlap::{max_overlap, overlaps};
pub use record::{BankRecord, BaseModel, ConceptRecord};
pub use stored::{
    NamedTensors, StoredAdapter, StoredFactors, finish_adapter, read_tensors, write_tensors,
};

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::adapter::Site;
use crate::adapter::directions::Columns;
use crate::config::Method;
use crate::error::{Error, Result};

/// An open bank.
#[derive(Debug)]
pub struct Bank {
    path: PathBuf,
    record: BankRecord,
    /// Held while this process may write.
    _lock: Option<FolderLock>,
}

impl Bank {
    /// Opens a bank to read it; the base model is not checked.
    ///
    /// # Errors
    /// If there is none, or it is damaged or written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("bank.json");
        if !file.exists() {
            return Err(Error::NoBank { path: file });
        }
        let record = BankRecord::read(&file)?;
        Ok(Self { path: path.into(), record, _lock: None })
    }

    /// Opens a bank to read it, for use with a model.
    ///
    /// # Errors
    /// Also if it was made for another base model.
    pub fn open_for(path: &Path, base: &BaseModel) -> Result<Self> {
        let bank = Self::open(path)?;
        bank.check_base(base)?;
        Ok(bank)
    }

    /// Opens a bank to add to it, or starts one in a folder that is empty or not there.
    ///
    /// # Errors
    /// Also if another process has it open for writing, or the folder holds something else.
    pub fn open_or_create(path: &Path, base: &BaseModel, sites: &[Site]) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("cannot create", path))?;
        let is_bank = || path.join("bank.json").exists();
        if !is_bank() && !is_empty_but_for_ours(path)? {
            return Err(Error::NotABank { path: path.into() });
        }
        let lock = FolderLock::take(path)?;
        remove_temporary(path)?;
        // Asked again: another process may have made it before the lock was ours.
        let bank = match is_bank() {
            true => Self { _lock: Some(lock), ..Self::open_for(path, base)? },
            false => {
                let record = BankRecord::new(base.clone(), sites.to_vec());
                write_json(&path.join("bank.json"), &record)?;
                Self { path: path.into(), record, _lock: Some(lock) }
            }
        };
        // A finished concept's checkpoint is left over if the process ended right after listing it.
        for id in &bank.record.concepts {
            bank.remove_checkpoint(id)?;
        }
        Ok(bank)
    }

    /// A bank in a folder that is not touched, to plan with.
    pub fn imagined(path: &Path, base: &BaseModel, sites: &[Site]) -> Self {
        let record = BankRecord::new(base.clone(), sites.to_vec());
        Self { path: path.into(), record, _lock: None }
    }

    fn check_base(&self, base: &BaseModel) -> Result<()> {
        if self.record.base.is_like(base) {
            return Ok(());
        }
        Err(Error::OtherBase {
            path: self.path.clone(),
            bank: self.record.base.to_string(),
            model: base.to_string(),
        })
    }

    /// The method of all its concepts; `None` while there are none.
    pub fn method(&self) -> Option<Method> {
        self.record.method
    }

    /// # Errors
    /// If it holds concepts of another method.
    pub fn check_method(&self, method: Method) -> Result<()> {
        match self.record.method {
            Some(bank) if bank != method => {
                Err(Error::OtherMethod { path: self.path.clone(), bank, method })
            }
            _ => Ok(()),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ids of the concepts, in the order in which they were learnt.
    pub fn concepts(&self) -> &[String] {
        &self.record.concepts
    }

    /// Whether a concept is in the bank.
    pub fn contains(&self, id: &str) -> bool {
        self.record.concepts.iter().any(|known| known == id)
    }

    /// The concept with this id, or with one that would share its folder on macOS and Windows.
    pub fn like(&self, id: &str) -> Option<&str> {
        self.concepts().iter().find(|known| known.eq_ignore_ascii_case(id)).map(String::as_str)
    }

    /// The sites of its base model.
    pub fn sites(&self) -> &[Site] {
        &self.record.sites
    }

    /// Its base model.
    pub fn base(&self) -> &BaseModel {
        &self.record.base
    }

    /// The folder of a concept.
    pub fn concept_folder(&self, id: &str) -> PathBuf {
        self.path.join("concepts").join(id)
    }

    /// The folder of a concept's training state.
    pub fn checkpoint_folder(&self, id: &str) -> PathBuf {
        self.concept_folder(id).join("checkpoint")
    }

    /// Removes a concept's training state, if there is one.
    pub fn remove_checkpoint(&self, id: &str) -> Result<()> {
        let folder = self.checkpoint_folder(id);
        match folder.exists() {
            true => fs::remove_dir_all(&folder).map_err(Error::io("cannot remove", folder)),
            false => Ok(()),
        }
    }

    /// The provenance of a concept.
    ///
    /// # Errors
    /// If it is not in the bank, or its file is damaged.
    pub fn concept(&self, id: &str) -> Result<ConceptRecord> {
        if !self.contains(id) {
            return Err(Error::UnknownConcept { id: id.into(), known: self.concepts().join(", ") });
        }
        read_json(&self.concept_folder(id).join("concept.json"))
    }

    /// The factors of a concept.
    ///
    /// # Errors
    /// If the file is missing, damaged, or does not fit the sites.
    pub fn adapter(&self, id: &str) -> Result<StoredAdapter> {
        StoredAdapter::read(&self.concept_folder(id).join("adapter.safetensors"), self.sites())
    }

    /// The loss of each step in which a concept was trained.
    ///
    /// # Errors
    /// If its `metrics.jsonl` is missing or damaged.
    pub fn losses(&self, id: &str) -> Result<Vec<f64>> {
        #[derive(Deserialize)]
        struct Line {
            loss: f64,
        }
        let path = self.concept_folder(id).join("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
        let loss = |line| serde_json::from_str::<Line>(line).map(|line| line.loss);
        text.lines().map(loss).collect::<Result<_, _>>().map_err(Error::damaged(path))
    }

    /// The directions that the bank's concepts occupy at each site.
    pub fn occupied(&self) -> Result<Vec<Columns>> {
        let mut occupied = vec![Columns::new(); self.sites().len()];
        for id in self.concepts() {
            for (site, factors) in self.adapter(id)?.sites.into_iter().enumerate() {
                occupied[site].extend(factors.map(|f| f.down_columns()).unwrap_or_default());
            }
        }
        Ok(occupied)
    }

    /// Adds a concept. Everything is on disk before `bank.json` lists it.
    ///
    /// # Errors
    /// If the id is taken, the method is another one or the disk is full; the bank is then as before.
    pub fn append(
        &mut self,
        concept: &ConceptRecord,
        adapter: &StoredAdapter,
        rows: NamedTensors,
    ) -> Result<()> {
        if let Some(known) = self.like(&concept.id) {
            return Err(Error::DuplicateConcept { id: known.into(), hint: "" });
        }
        self.check_method(concept.config.method)?;
        let folder = self.concept_folder(&concept.id);
        fs::create_dir_all(&folder).map_err(Error::io("cannot create", &folder))?;
        remove_temporary(&folder)?;
        adapter.write(&folder.join("adapter.safetensors"), self.sites())?;
        write_tensors(&folder.join("tokens.safetensors"), &rows)?;
        write_json(&folder.join("concept.json"), concept)?;
        let mut record = self.record.clone();
        record.method = Some(concept.config.method);
        record.concepts.push(concept.id.clone());
        write_json(&self.path.join("bank.json"), &record)?;
        self.record = record;
        self.remove_checkpoint(&concept.id)
    }
}

/// Whether a folder holds at most what a killed process leaves before there is a `bank.json`.
fn is_empty_but_for_ours(path: &Path) -> Result<bool> {
    let entries = fs::read_dir(path).map_err(Error::io("cannot read", path))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.all(|name| name == LOCK || is_temporary(&name)))
}
