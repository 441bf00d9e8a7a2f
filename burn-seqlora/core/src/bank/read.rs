//! What a bank says of its concepts.

use std::fs;
use std::path::{Path, PathBuf};

use seqlora_files::read_json;
use serde::Deserialize;
use serde_json::Value;

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
        read_records(&self.concept_folder(id), id, self.sites())
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
        let (record, _) = self.concept(id)?;
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
}

/// Reads a concept's records from its folder; `sites` are the bank's.
fn read_records(
    folder: &Path,
    id: &str,
    sites: &[Site],
) -> Result<(ConceptRecord, TrainingRecord)> {
    let file = folder.join("concept.json");
    let damaged = |reason: String| Error::damaged(&file, reason);
    let value: Value = read_json(&file)?;
    // Version 1 did not say so here.
    let (record, training) = if value.get("version").is_none() {
        legacy::concept(&file, value, sites)?
    } else {
        check_version(&file, &value, concept::VERSION)?;
        let record: ConceptRecord =
            serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        let missing = FILES.into_iter().find(|name| !record.digests.contains_key(*name));
        if let Some(name) = missing {
            return Err(damaged(format!("`digests` has no entry for {name}")));
        }
        (record, read_json(&folder.join("training.json"))?)
    };
    record.check(sites).map_err(damaged)?;
    if record.id != id {
        return Err(damaged(format!("`id` is `{}`, and its folder belongs to `{id}`", record.id)));
    }
    Ok((record, training))
}
