//! What the bank's JSON files say.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::read_json;
use crate::adapter::Site;
use crate::config::{Method, TrainConfig};
use crate::diffusion::Prediction;
use crate::error::{Error, Result};

/// The layout that this version writes.
const VERSION: u32 = 1;

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
    /// The method of all its concepts; `None` while there are none.
    #[serde(default)]
    pub method: Option<Method>,
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
        if record.version != VERSION {
            let reason = format!("its version is {}, this program knows {VERSION}", record.version);
            return Err(Error::Damaged { path: path.into(), reason });
        }
        Ok(record)
    }
}

/// `concept.json`: where a concept comes from and how it was learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptRecord {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is.
    pub class_word: String,
    /// The names of its reference images.
    pub images: Vec<String>,
    /// A digest of the reference images, masks and captions.
    pub data_digest: String,
    /// The number of words that it stands for.
    pub words: usize,
    /// The number of rows that each word owns.
    pub rows_per_word: usize,
    /// The rank at each site, in the order of the bank's sites.
    pub ranks: Vec<usize>,
    /// Minibatches trained.
    pub steps: usize,
    /// Loss on the probes before training.
    pub initial_loss: f64,
    /// Loss on the same probes after training.
    pub final_loss: f64,
    /// The settings.
    pub config: TrainConfig,
    /// The version of this crate that trained it.
    pub trained_by: String,
}
