//! `state.json` of a checkpoint: what belongs to a state besides its tensors.

use seqlora_files::{read_json, sha256};
use serde::{Deserialize, Serialize};

use crate::bank::{Bank, ConceptId};
use crate::error::{Error, Result};
use crate::settings::TrainConfig;

/// The record's file.
pub const RECORD: &str = "state.json";

/// The files that tensors are written to by turns.
pub const FILES: [&str; 2] = ["state-0.safetensors", "state-1.safetensors"];

/// What helps with a damaged checkpoint.
pub const START_ANEW: &str = "delete the checkpoint folder to start the concept anew";

/// What belongs to a state besides its tensors. It is written last: it makes the checkpoint count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecord {
    /// SHA-256 of this record without it and of the tensors' digest, in hexadecimal.
    pub checksum: String,
    /// The file with the tensors, one of [`FILES`].
    pub tensors: String,
    /// Minibatches done.
    pub step: usize,
    pub inner_count: usize,
    pub outer_count: usize,
    pub embeddings_count: usize,
    pub embeddings_frozen: bool,
    pub initial_loss: f64,
    /// Length of metrics.jsonl at this step, in bytes.
    pub metrics_bytes: u64,
    /// The settings, which a resumed run has to share.
    pub config: TrainConfig,
    /// The digest of the images, which a resumed run has to share.
    pub data_digest: String,
    /// The concepts that came before, in order.
    pub earlier: Vec<String>,
}

impl CheckpointRecord {
    /// The record of a concept in training, if it has one.
    ///
    /// # Errors
    /// If the file is damaged, or says what cannot be.
    pub fn find(bank: &Bank, id: &ConceptId) -> Result<Option<Self>> {
        let file = bank.folder().check(bank.checkpoint_inside(id).join(RECORD))?;
        if !file.exists() {
            return Ok(None);
        }
        let damaged = |reason: String| Error::damaged(&file, format!("{reason}; {START_ANEW}"));
        let record: Self =
            read_json(&file).map_err(|error| Error::from(error).with_advice(START_ANEW))?;
        record.check_itself().map_err(damaged)?;
        Ok(Some(record))
    }

    /// The checksum that belongs to this record and to tensors with this digest.
    pub fn checksum_with(&self, tensors: &str) -> String {
        let unsealed = Self { checksum: String::new(), ..self.clone() };
        let text = serde_json::to_string(&unsealed).expect("a record is JSON");
        sha256((text + tensors).as_bytes())
    }

    /// Checks what is joined to a path, counted up to or divided by; says which key is wrong. The checksum
    /// finds accidents, and this what somebody wrote on purpose.
    fn check_itself(&self) -> Result<(), String> {
        if !FILES.contains(&self.tensors.as_str()) {
            return Err(format!("`tensors` is none of {}", FILES.join(", ")));
        }
        self.config.validate().map_err(|error| format!("`config`: {error}"))?;
        let TrainConfig { steps, outer, inner, .. } = self.config;
        if self.step > steps {
            return Err(format!("`step` is {}, and the run has {steps}", self.step));
        }
        // Within the limits of valid settings this does not overflow.
        let most = self.step * outer * (inner + 1);
        let counts = [
            ("inner_count", self.inner_count),
            ("outer_count", self.outer_count),
            ("embeddings_count", self.embeddings_count),
        ];
        if let Some((name, count)) = counts.into_iter().find(|(_, count)| *count > most) {
            return Err(format!("`{name}` is {count}, more than {} steps make", self.step));
        }
        match self.initial_loss.is_finite() {
            true => Ok(()),
            false => Err("`initial_loss` is not finite".into()),
        }
    }
}
