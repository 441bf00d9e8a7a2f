//! What a bank says of its concepts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seqlora_files::read_json;
use serde::Deserialize;
use serde_json::Value;

use super::basis::BasisCache;
use super::formats::native;
use super::record::check_version;
use super::tensors::{Matrix, parse_tensors};
use super::{Bank, ConceptRecord, EMBEDDINGS, TOKENS, TrainingRecord, concept, legacy};
use crate::error::{Error, Result};
use crate::lora::directions::Columns;
use crate::lora::{Site, StoredAdapter};

/// The files of a concept that have digests.
const FILES: [&str; 2] = [native::FILE, TOKENS];

impl Bank {
    /// What inference needs of a concept, and how it was trained.
    ///
    /// # Errors
    /// If it is not in the bank, or a file is damaged.
    pub fn concept(&self, id: &str) -> Result<(ConceptRecord, TrainingRecord)> {
        self.check_contains(id)?;
        let folder = self.concept_folder(id);
        let (record, training) = read_record(&folder, id, self.sites())?;
        match training {
            Some(training) => Ok((record, training)),
            None => Ok((record, read_json(&folder.join("training.json"))?)),
        }
    }

    /// What inference needs of a concept; how it was trained is not read.
    ///
    /// # Errors
    /// If it is not in the bank, or its `concept.json` is damaged.
    pub fn record(&self, id: &str) -> Result<ConceptRecord> {
        self.check_contains(id)?;
        Ok(read_record(&self.concept_folder(id), id, self.sites())?.0)
    }

    fn check_contains(&self, id: &str) -> Result<()> {
        match self.contains(id) {
            true => Ok(()),
            false => {
                Err(Error::UnknownConcept { id: id.into(), known: self.concepts().join(", ") })
            }
        }
    }

    /// The factors of a concept.
    ///
    /// # Errors
    /// If the file is missing or damaged, or does not fit the sites or the concept's record.
    pub fn adapter(&self, id: &str) -> Result<StoredAdapter> {
        let record = self.record(id)?;
        let (file, bytes) = self.read(&record, native::FILE)?;
        let adapter = native::from_bytes(&file, &bytes, self.sites())?;
        let ranks = adapter.ranks(self.sites()).into_iter().zip(record.ranks(self.sites()));
        match self.sites().iter().zip(ranks).find(|(_, (rank, recorded))| rank != recorded) {
            None => Ok(adapter),
            Some((site, (rank, recorded))) => {
                let name = &site.name;
                let reason =
                    format!("the rank of `{name}` is {rank}, and concept.json says {recorded}");
                Err(Error::damaged(file, reason))
            }
        }
    }

    /// The token embeddings of a concept, `[words × embeddings per word, width]`, row by row.
    ///
    /// # Errors
    /// If the file is missing or damaged, or has another shape.
    pub fn embeddings(&self, record: &ConceptRecord) -> Result<Matrix> {
        let (file, bytes) = self.read(record, TOKENS)?;
        let mut tensors = parse_tensors(&file, &bytes)?;
        let (shape, values) = tensors
            .remove(EMBEDDINGS)
            .or_else(|| tensors.remove(legacy::EMBEDDINGS))
            .ok_or_else(|| Error::damaged(&file, format!("`{EMBEDDINGS}` is missing")))?;
        let expected = self.embeddings_shape(record);
        if shape != expected {
            let reason = format!("`{EMBEDDINGS}` has shape {shape:?}, expected {expected:?}");
            return Err(Error::damaged(file, reason));
        }
        Ok((shape, values))
    }

    /// The shape of a concept's token embeddings.
    pub(super) fn embeddings_shape(&self, record: &ConceptRecord) -> [usize; 2] {
        // The limits of a checked record rule out that this overflows.
        [record.words.saturating_mul(record.embeddings_per_word), self.base().token_width]
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
    /// If it is not in the bank, or its `metrics.jsonl` is missing or damaged.
    pub fn losses(&self, id: &str) -> Result<Vec<f64>> {
        #[derive(Deserialize)]
        struct Line {
            loss: f64,
        }
        self.check_contains(id)?;
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
        let cache = BasisCache::new(self.path(), self.sites());
        let writable = self.is_writable();
        let columns = cache.columns(self.concepts(), |id| self.adapter(id), writable)?;
        let names = self.sites().iter().map(|site| site.name.as_str());
        let mut by_name: BTreeMap<&str, Columns> = names.zip(columns).collect();
        let of_site = |site: &Site| by_name.remove(site.name.as_str()).unwrap_or_default();
        Ok(sites.iter().map(of_site).collect())
    }

    /// How many directions of each of these sites are reserved, from the concepts' records alone.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn reserved(&self, sites: &[Site]) -> Result<Vec<usize>> {
        let mut reserved = vec![0; sites.len()];
        for id in self.concepts() {
            let record = self.record(id)?;
            if record.reserves_directions {
                reserved.iter_mut().zip(record.ranks(sites)).for_each(|(sum, rank)| *sum += rank);
            }
        }
        Ok(reserved)
    }
}

/// Reads a concept's record from its folder, and how it was trained if that is in the same file, as in
/// version 1; `sites` are the bank's.
fn read_record(
    folder: &Path,
    id: &str,
    sites: &[Site],
) -> Result<(ConceptRecord, Option<TrainingRecord>)> {
    let file = folder.join("concept.json");
    let damaged = |reason: String| Error::damaged(&file, reason);
    let value: Value = read_json(&file)?;
    let (record, training) = match value.get("version") {
        None => {
            let (record, training) = legacy::concept(&file, value, sites)?;
            (record, Some(training))
        }
        Some(_) => (versioned_record(&file, value)?, None),
    };
    record.check(sites).map_err(damaged)?;
    if record.id != id {
        return Err(damaged(format!("`id` is `{}`, and its folder belongs to `{id}`", record.id)));
    }
    Ok((record, training))
}

/// The record in a file that says its version.
fn versioned_record(file: &Path, value: Value) -> Result<ConceptRecord> {
    check_version(file, &value, concept::VERSION)?;
    let record: ConceptRecord =
        serde_json::from_value(value).map_err(|e| Error::damaged(file, e))?;
    match FILES.into_iter().find(|name| !record.digests.contains_key(*name)) {
        Some(name) => Err(Error::damaged(file, format!("`digests` has no entry for {name}"))),
        None => Ok(record),
    }
}
