//! What a bank says of its concepts.

use std::path::{Path, PathBuf};

use seqlora_files::{TEXT_LIMIT, read_bytes};
use serde::Deserialize;

use super::formats::{FactorsFile, native};
use super::places::Places;
use super::tensors::{Matrix, parse_tensors};
use super::versions::{check_version, parse, read_with_version};
use super::{
    BANK, Bank, CONCEPT, ConceptId, ConceptRecord, EMBEDDINGS, METRICS, TOKENS, TRAINING,
    TrainingRecord, concept, legacy,
};
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

/// The files of a concept that have digests, and the version of `concept.json` since which they do.
const FILES: [(&str, u64); 3] = [(native::FILE, 2), (TOKENS, 2), (TRAINING, 3)];

/// Bytes that a safetensors file may have besides its numbers: 1000 matrices take 0.1 MB.
const HEADER: usize = 16 << 20;

impl Bank {
    /// The id of a concept of this bank.
    ///
    /// # Errors
    /// If it holds none of this id.
    pub fn find(&self, id: &str) -> Result<&ConceptId> {
        let found = self.concepts().iter().find(|known| **known == id);
        found.ok_or_else(|| Error::unknown_concept(id, self.concepts().iter().map(|id| &**id)))
    }

    /// What inference needs of a concept, and how it was trained.
    ///
    /// # Errors
    /// If it is not in the bank, or a file is damaged.
    pub fn concept(&self, id: &str) -> Result<(ConceptRecord, TrainingRecord)> {
        let (record, training) = self.read_record(self.find(id)?)?;
        match training {
            Some(training) => Ok((record, training)),
            None => {
                let (file, bytes) = self.read(&record, TRAINING, TEXT_LIMIT)?;
                Ok((record, parse(&file, text(&file, &bytes)?)?))
            }
        }
    }

    /// What inference needs of a concept; how it was trained is not read.
    ///
    /// # Errors
    /// If it is not in the bank, or its `concept.json` is damaged.
    pub fn record(&self, id: &str) -> Result<ConceptRecord> {
        Ok(self.read_record(self.find(id)?)?.0)
    }

    /// SHA-256 of a concept's `concept.json`, which has those of its other files; banks of the first versions know
    /// none.
    pub fn record_digest(&self, id: &ConceptId) -> Option<&str> {
        self.record.digests.get(id).map(String::as_str)
    }

    /// The factors of a concept.
    ///
    /// # Errors
    /// If the file is missing or damaged, or does not fit the sites or the concept's record.
    pub fn adapter(&self, id: &str) -> Result<StoredAdapter> {
        let record = self.record(id)?;
        Ok(self.read_adapter(&record)?.0)
    }

    /// The factors of a concept, whose adapter has been read once and so checked, to be read site by site.
    pub(crate) fn factors_file(&self, id: &ConceptId) -> Result<FactorsFile> {
        FactorsFile::open(&self.concept_folder(id).join(native::FILE))
    }

    /// A concept's factors, and where those of B lie in their file.
    pub(super) fn read_adapter(&self, record: &ConceptRecord) -> Result<(StoredAdapter, Places)> {
        let limit = record.adapter_bytes().saturating_add(HEADER);
        let (file, bytes) = self.read(record, native::FILE, limit as u64)?;
        let adapter = native::from_bytes(&file, &bytes, self.sites())?;
        let ranks = adapter.ranks(self.sites()).into_iter().zip(record.ranks(self.sites()));
        match self.sites().iter().zip(ranks).find(|(_, (rank, recorded))| rank != recorded) {
            None => {
                let places = native::places(&file, &bytes, self.sites())?;
                Ok((adapter, places))
            }
            Some((site, (rank, recorded))) => {
                let name = &site.name;
                let reason =
                    format!("the rank of `{name}` is {rank}, and concept.json says {recorded}");
                Err(Error::damaged(file, reason))
            }
        }
    }

    /// Where a concept's B lies in its adapter, which has been checked.
    pub(super) fn places(&self, id: &ConceptId) -> Result<Places> {
        let record = self.record(id)?;
        Ok(self.read_adapter(&record)?.1)
    }

    /// The token embeddings of a concept, `[words × embeddings per word, width]`, row by row.
    ///
    /// # Errors
    /// If the file is missing or damaged, or has another shape.
    pub fn embeddings(&self, record: &ConceptRecord) -> Result<Matrix> {
        let expected = self.embeddings_shape(record);
        let limit = expected[0].saturating_mul(4 * expected[1]).saturating_add(HEADER);
        let (file, bytes) = self.read(record, TOKENS, limit as u64)?;
        let mut tensors = parse_tensors(&file, &bytes)?;
        let (shape, values) = tensors
            .remove(EMBEDDINGS)
            .or_else(|| tensors.remove(legacy::EMBEDDINGS))
            .ok_or_else(|| Error::damaged(&file, format!("`{EMBEDDINGS}` is missing")))?;
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

    /// A file of a concept of at most `limit` bytes, checked against its digest.
    fn read(&self, record: &ConceptRecord, name: &str, limit: u64) -> Result<(PathBuf, Vec<u8>)> {
        let file = self.concept_folder(&record.id).join(name);
        let bytes = read_bytes(&file, limit)?;
        record.check_digest(&file, &bytes)?;
        Ok((file, bytes))
    }

    /// The lines of a concept's `metrics.jsonl`; none if it has no such file, as one that was imported.
    ///
    /// # Errors
    /// If it is damaged.
    pub(crate) fn metrics(&self, record: &ConceptRecord) -> Result<Vec<u8>> {
        match record.digests.contains_key(METRICS) {
            true => Ok(self.read(record, METRICS, TEXT_LIMIT)?.1),
            false => Ok(Vec::new()),
        }
    }

    /// The loss of each step in which a concept was trained.
    ///
    /// # Errors
    /// If it is not in the bank, or its `metrics.jsonl` is missing or damaged.
    pub fn losses(&self, id: &str) -> Result<Vec<f64>> {
        self.read_losses(&self.record(id)?)
    }

    pub(super) fn read_losses(&self, record: &ConceptRecord) -> Result<Vec<f64>> {
        #[derive(Deserialize)]
        struct Line {
            loss: f64,
        }
        let (file, bytes) = self.read(record, METRICS, TEXT_LIMIT)?;
        let loss = |line| parse::<Line>(&file, line).map(|line| line.loss);
        text(&file, &bytes)?.lines().map(loss).collect()
    }

    /// Reads a concept's record from its folder, and how it was trained if that is in the same file, as
    /// in version 1.
    fn read_record(&self, id: &ConceptId) -> Result<(ConceptRecord, Option<TrainingRecord>)> {
        let file = self.concept_folder(id).join(CONCEPT);
        let damaged = |reason: String| Error::damaged(&file, reason);
        let (version, text) = read_with_version(&file, concept::LARGEST)?;
        if let Some(expected) = self.record_digest(id) {
            concept::check_sha256(&file, text.as_bytes(), expected, BANK)?;
        }
        let (record, training) = match version {
            None => {
                let (record, training) = legacy::concept(&file, &text, self.sites())?;
                (record, Some(training))
            }
            Some(_) => (versioned_record(&file, version, &text)?, None),
        };
        record.check(self.sites()).map_err(damaged)?;
        // Layers read a row of their own for each word, or all the same one.
        let (count, layers) = (record.embeddings_per_word, self.base().cross_attention_layers);
        if count != 1 && count != layers {
            return Err(damaged(format!(
                "`embeddings_per_word` is {count}, and the base model has {layers} layers that read them"
            )));
        }
        if record.id != *id {
            let reason = format!("`id` is `{}`, and its folder belongs to `{id}`", record.id);
            return Err(damaged(reason));
        }
        Ok((record, training))
    }
}

/// The text in the bytes of a file.
fn text<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::damaged(file, "it is not UTF-8"))
}

/// The record in a file that says its version.
fn versioned_record(file: &Path, version: Option<u64>, text: &str) -> Result<ConceptRecord> {
    check_version(file, version, concept::VERSION)?;
    let record: ConceptRecord = parse(file, text)?;
    let since = |(_, since): &(&str, u64)| version.is_some_and(|version| version >= *since);
    let missing =
        FILES.into_iter().filter(since).find(|(name, _)| !record.digests.contains_key(*name));
    match missing {
        Some((name, _)) => Err(Error::damaged(file, format!("`digests` has no entry for {name}"))),
        None => Ok(record),
    }
}
