//! What `bank.json` says.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use seqlora_files::read_json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_concept_id;
use crate::diffusion::Prediction;
use crate::error::{Error, Result};
use crate::lora::Site;

/// The layout that this version writes. Version 1 kept inference and training in one record and ranks
/// by position; it is still read (`legacy.rs`).
const VERSION: u32 = 2;

/// The model that a bank's adapters belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// A digest of the model's weights.
    pub fingerprint: String,
    /// What its output means; banks that do not say fit any.
    #[serde(default)]
    pub prediction: Option<Prediction>,
    /// The last part of its path, or its id on the hub; for people only.
    pub name: String,
    /// The number of cross-attention layers.
    pub cross_attention_layers: usize,
    /// The width of a token's embedding.
    pub token_width: usize,
}

impl BaseModel {
    /// Whether what was learnt on one is of use on the other.
    pub fn is_like(&self, other: &Self) -> bool {
        let predictions = self.prediction.zip(other.prediction);
        self.fingerprint == other.fingerprint && predictions.is_none_or(|(a, b)| a == b)
    }
}

impl fmt::Display for BaseModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.fingerprint, self.name)?;
        match self.prediction {
            None | Some(Prediction::Epsilon) => write!(f, ")"),
            Some(Prediction::VPrediction) => write!(f, ", predicts v)"),
            Some(Prediction::Sample) => write!(f, ", predicts x0)"),
        }
    }
}

/// `bank.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankRecord {
    version: u32,
    /// The model that the adapters belong to.
    pub base: BaseModel,
    /// The name of the method of all its concepts; `None` while there are none.
    #[serde(default)]
    pub method: Option<String>,
    /// The ids of the concepts, in the order in which they were learnt.
    pub concepts: Vec<String>,
    /// The sites of the base model.
    pub sites: Vec<Site>,
}

impl BankRecord {
    /// A bank without concepts.
    pub fn new(base: BaseModel, sites: Vec<Site>) -> Self {
        Self { version: VERSION, base, method: None, concepts: Vec::new(), sites }
    }

    /// # Errors
    /// If the file is not there, damaged, or written by a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let value: Value = read_json(path)?;
        // Before everything else: a newer version may have keys that would be refused.
        check_version(path, &value, VERSION)?;
        let record: Self = serde_json::from_value(value).map_err(|e| Error::damaged(path, e))?;
        record.check().map_err(|reason| Error::damaged(path, reason))?;
        Ok(Self { version: VERSION, ..record })
    }

    /// Checks what is used as the name of a folder or to find a layer; says which key is wrong.
    fn check(&self) -> Result<(), String> {
        let mut folders = BTreeSet::new();
        for (number, id) in self.concepts.iter().enumerate() {
            if !is_concept_id(id) {
                return Err(format!("`concepts[{number}]`: `{id}` is not a valid id"));
            }
            if !folders.insert(id.to_ascii_lowercase()) {
                return Err(format!("`concepts[{number}]`: `{id}` is listed twice"));
            }
        }
        let mut names = BTreeSet::new();
        for (number, site) in self.sites.iter().enumerate() {
            if site.name.is_empty() || !names.insert(&site.name) {
                let name = &site.name;
                return Err(format!("`sites[{number}].name`: `{name}` is empty or there twice"));
            }
            if site.inputs == 0 || site.outputs == 0 {
                return Err(format!("`sites[{number}]`: `{}` has no inputs or outputs", site.name));
            }
        }
        Ok(())
    }
}

/// Checks the version of a record.
///
/// # Errors
/// If it is missing, or greater than what this program reads.
pub(super) fn check_version(path: &Path, record: &Value, known: u32) -> Result<()> {
    match record.get("version").and_then(Value::as_u64) {
        None | Some(0) => Err(Error::damaged(path, "`version` is missing or no positive number")),
        Some(version) if version > known.into() => {
            Err(Error::NewerVersion { path: path.into(), version, known })
        }
        Some(_) => Ok(()),
    }
}
