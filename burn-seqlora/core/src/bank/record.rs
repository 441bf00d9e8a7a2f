//! What `bank.json` says.

use std::fmt;
use std::path::Path;

use seqlora_files::read_json;
use serde::{Deserialize, Serialize};

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
        let record: Self = read_json(path)?;
        if !(1..=VERSION).contains(&record.version) {
            let reason = format!(
                "its version is {}, and this program reads versions 1 to {VERSION}; use a newer one",
                record.version
            );
            return Err(Error::damaged(path, reason));
        }
        Ok(Self { version: VERSION, ..record })
    }
}
