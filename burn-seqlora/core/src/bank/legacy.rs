//! Concepts of banks of version 1, in which one record held inference and training.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::ConceptId;
use super::concept::{AdaptedSite, ConceptRecord, TrainingRecord};
use super::versions::parse;
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter};

/// The name of the token embeddings in `tokens.safetensors`.
pub const EMBEDDINGS: &str = "rows";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: ConceptId,
    class_word: String,
    images: Vec<String>,
    data_digest: String,
    words: usize,
    rows_per_word: usize,
    /// In the order of the bank's sites.
    ranks: Vec<usize>,
    steps: usize,
    initial_loss: f64,
    final_loss: f64,
    config: Value,
    trained_by: String,
}

/// The two records of a concept.
///
/// # Errors
/// If the record is damaged, or does not have as many ranks as the bank has sites.
pub fn concept(file: &Path, text: &str, sites: &[Site]) -> Result<(ConceptRecord, TrainingRecord)> {
    let old: Record = parse(file, text)?;
    if old.ranks.len() != sites.len() {
        let reason = format!("`ranks` has {} entries for {} sites", old.ranks.len(), sites.len());
        return Err(Error::damaged(file, reason));
    }
    let method = old.config.get("method").and_then(Value::as_str).unwrap_or("seqlora").to_string();
    let words = [old.words, old.rows_per_word];
    let none = StoredAdapter::default();
    let mut record = ConceptRecord::new(&old.id, &old.class_word, words, method != "lora", &none);
    let adapted = |(site, rank): (&Site, &usize)| {
        let site_record = AdaptedSite { rank: *rank, inputs: site.inputs, outputs: site.outputs };
        (*rank > 0).then(|| (site.name.clone(), site_record))
    };
    record.sites = sites.iter().zip(&old.ranks).filter_map(adapted).collect();
    let training = TrainingRecord {
        method,
        images: old.images,
        data_digest: old.data_digest,
        steps: old.steps,
        initial_loss: old.initial_loss,
        final_loss: old.final_loss,
        settings: old.config,
        trained_by: old.trained_by,
    };
    Ok((record, training))
}
