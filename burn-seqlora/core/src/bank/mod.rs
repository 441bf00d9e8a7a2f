//! The bank: the ordered, append-only set of learnt concepts on disk.
//!
//! ```text
//! BANK/bank.json                          version, base model, method, sites, order of the concepts
//! BANK/concepts/<id>/adapter.safetensors  <site>.lora_up [n, r], <site>.lora_down [r, m], f32
//! BANK/concepts/<id>/tokens.safetensors   embeddings [words × embeddings per word, width], f32
//! BANK/concepts/<id>/concept.json         what inference needs: words, sites with their sizes, digests
//! BANK/concepts/<id>/training.json        how it was trained: images, settings, losses
//! BANK/concepts/<id>/metrics.jsonl        one line per training step
//! BANK/concepts/<id>/checkpoint/          only while the concept is being trained
//! ```
//!
//! The stored B has orthonormal columns, so a layer's basis Q is the B of all concepts concatenated.
//! With plain LoRA that holds within a concept only; a bank holds the concepts of one method, so that its
//! name tells whether they interfere where they are added. A concept counts once `bank.json` lists it;
//! until then nothing refers to its folder.

mod concept;
pub mod formats;
mod legacy;
mod overlap;
mod record;
mod tensors;

pub use concept::{AdaptedSite, ConceptRecord, TrainingRecord};
pub use overlap::{max_overlap, overlaps};
pub use record::{BankRecord, BaseModel};
pub use tensors::{NamedTensors, read_tensors, write_tensors};

use std::fs;
use std::path::{Path, PathBuf};

use seqlora_files::{
    FolderLock, LOCK, is_temporary, read_json, remove_temporary, write_atomic, write_json,
};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::lora::directions::Columns;
use crate::lora::{Site, StoredAdapter};
use formats::native;
use tensors::{parse_tensors, to_safetensors};

/// The file with a concept's token embeddings, and their name in it.
const TOKENS: &str = "tokens.safetensors";
const EMBEDDINGS: &str = "embeddings";

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

    /// A bank that is not on disk, for a dry run: nothing in the folder is touched.
    pub fn dry_run(path: &Path, base: &BaseModel, sites: &[Site]) -> Self {
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
    pub fn method(&self) -> Option<&str> {
        self.record.method.as_deref()
    }

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

    /// What inference needs of a concept, and how it was trained.
    ///
    /// # Errors
    /// If it is not in the bank, or a file is damaged.
    pub fn concept(&self, id: &str) -> Result<(ConceptRecord, TrainingRecord)> {
        if !self.contains(id) {
            return Err(Error::UnknownConcept { id: id.into(), known: self.concepts().join(", ") });
        }
        read_records(&self.concept_folder(id), self.sites())
    }

    /// The factors of a concept.
    ///
    /// # Errors
    /// If the file is missing, damaged, or does not fit the sites.
    pub fn adapter(&self, id: &str) -> Result<StoredAdapter> {
        let (record, _) = self.concept(id)?;
        let (file, bytes) = self.read(&record, native::FILE)?;
        native::from_bytes(&file, &bytes, self.sites())
    }

    /// The token embeddings of a concept, `[words × embeddings per word, width]`, row by row.
    ///
    /// # Errors
    /// If the file is missing or damaged, or has another shape.
    pub fn embeddings(&self, record: &ConceptRecord) -> Result<([usize; 2], Vec<f32>)> {
        let (file, bytes) = self.read(record, TOKENS)?;
        let mut tensors = parse_tensors(&file, &bytes)?;
        let (shape, values) = tensors
            .remove(EMBEDDINGS)
            .or_else(|| tensors.remove(legacy::EMBEDDINGS))
            .ok_or_else(|| Error::damaged(&file, format!("`{EMBEDDINGS}` is missing")))?;
        let count = record.words.checked_mul(record.embeddings_per_word);
        let width = self.base().token_width;
        if Some(shape[0]) != count || shape[1] != width {
            let expected = [record.words, record.embeddings_per_word];
            let reason = format!(
                "`{EMBEDDINGS}` has shape {shape:?}, expected {expected:?} embeddings of width {width}"
            );
            return Err(Error::damaged(file, reason));
        }
        Ok((shape, values))
    }

    /// A file of a concept, checked against its digest.
    fn read(&self, record: &ConceptRecord, name: &str) -> Result<(PathBuf, Vec<u8>)> {
        let file = self.concept_folder(&record.id).join(name);
        let bytes = fs::read(&file).map_err(Error::io("cannot read", &file))?;
        record.check_digest(&file, &bytes)?;
        Ok((file, bytes))
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
        text.lines().map(loss).collect::<Result<_, _>>().map_err(|e| Error::damaged(path, e))
    }

    /// The columns of B of all concepts at each of these sites: what later concepts stay orthogonal to.
    ///
    /// # Errors
    /// If an adapter cannot be read.
    pub fn directions(&self, sites: &[Site]) -> Result<Vec<Columns>> {
        let mut directions = vec![Columns::new(); sites.len()];
        for id in self.concepts() {
            let adapter = self.adapter(id)?;
            for (site, directions) in sites.iter().zip(&mut directions) {
                directions
                    .extend(adapter.get(&site.name).into_iter().flat_map(|f| f.down_columns()));
            }
        }
        Ok(directions)
    }

    /// How many directions of each of these sites are reserved, from the concepts' records alone.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn reserved(&self, sites: &[Site]) -> Result<Vec<usize>> {
        let mut reserved = vec![0; sites.len()];
        for id in self.concepts() {
            let (record, _) = self.concept(id)?;
            if record.reserves_directions {
                reserved.iter_mut().zip(record.ranks(sites)).for_each(|(sum, rank)| *sum += rank);
            }
        }
        Ok(reserved)
    }

    /// Adds a concept. Everything is on disk before `bank.json` lists it.
    ///
    /// # Errors
    /// If the id is taken, the method is another one, the adapter does not fit the bank's sites or the
    /// disk is full; the bank is then as before.
    pub fn append(
        &mut self,
        mut record: ConceptRecord,
        training: &TrainingRecord,
        adapter: &StoredAdapter,
        embeddings: ([usize; 2], Vec<f32>),
    ) -> Result<()> {
        if let Some(known) = self.like(&record.id) {
            return Err(Error::DuplicateConcept { id: known.into() });
        }
        self.check_method(&training.method)?;
        let folder = self.concept_folder(&record.id);
        if let Some(site) = adapter.misfit(self.sites()) {
            return Err(Error::damaged(folder, format!("the adapter of `{site}` fits no layer")));
        }
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
        write_json(&self.path.join("bank.json"), &bank)?;
        self.record = bank;
        self.remove_checkpoint(&record.id)
    }
}

/// Reads a concept's records from its folder; `sites` are the bank's.
fn read_records(folder: &Path, sites: &[Site]) -> Result<(ConceptRecord, TrainingRecord)> {
    let file = folder.join("concept.json");
    let value: Value = read_json(&file)?;
    match value.get("version").and_then(Value::as_u64) {
        None => legacy::concept(&file, value, sites),
        Some(version) if version == u64::from(concept::VERSION) => {
            let record = serde_json::from_value(value).map_err(|e| Error::damaged(&file, e))?;
            Ok((record, read_json(&folder.join("training.json"))?))
        }
        Some(version) => {
            let known = concept::VERSION;
            let reason = format!("its version is {version}, and this program knows {known}");
            Err(Error::damaged(&file, reason))
        }
    }
}

/// Whether a folder holds at most what a killed process leaves before there is a `bank.json`.
fn is_empty_but_for_ours(path: &Path) -> Result<bool> {
    let entries = fs::read_dir(path).map_err(Error::io("cannot read", path))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.all(|name| name == LOCK || is_temporary(&name)))
}
