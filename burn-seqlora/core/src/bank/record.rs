//! What `bank.json` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ConceptId;
use super::versions::{check_version, parse, read_with_version};
use crate::diffusion::Prediction;
use crate::error::{Error, Result};
use crate::lora::Site;

/// The newest layout. Version 1 kept inference and training in one record and ranks by position
/// (`legacy.rs`); versions 1 and 2 have no `digests` here and no digest of the tokenizer; version 3 has no
/// removed concepts, version 4 none that were trained further.
pub(super) const VERSION: u32 = 5;

/// The version of a bank in which no concept was trained further.
const WITHOUT_REVISIONS: u32 = 4;

/// The version of a bank from which nothing was removed: programs that know no other can read it.
const WITHOUT_REMOVED: u32 = 3;

/// The largest `bank.json` in bytes: 65,536 concepts take about 15 MB.
const LARGEST: u64 = 32 << 20;

/// A concept is hardly trained further more often.
pub(super) const MOST_REVISIONS: u32 = 1 << 16;

/// A layer of 1280 inputs is full after 320 concepts of rank 4.
const MOST_CONCEPTS: usize = 1 << 16;

/// SD1.5 has 232 sites, SDXL some 900.
const MOST_SITES: usize = 1 << 13;

/// The widest layer of SDXL has 10,240 features.
const MOST_FEATURES: usize = 1 << 16;

/// The longest name of a layer or a model, in bytes.
const LONGEST_NAME: usize = 1000;

/// The model that a bank's adapters belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// A digest of the model's weights.
    pub fingerprint: String,
    /// A digest of its tokenizer's vocabulary and rules; banks that do not say fit any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
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
        fn agree<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.fingerprint == other.fingerprint
            && self.cross_attention_layers == other.cross_attention_layers
            && self.token_width == other.token_width
            && agree(&self.tokenizer, &other.tokenizer)
            && agree(&self.prediction, &other.prediction)
    }
}

impl fmt::Display for BaseModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.fingerprint, self.name)?;
        match self.prediction {
            None | Some(Prediction::Epsilon) => {}
            Some(Prediction::VPrediction) => write!(f, ", predicts v")?,
            Some(Prediction::Sample) => write!(f, ", predicts x0")?,
        }
        match &self.tokenizer {
            None => write!(f, ")"),
            Some(tokenizer) => write!(f, ", tokenizer {tokenizer:.8})"),
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
    pub concepts: Vec<ConceptId>,
    /// SHA-256 of each concept's `concept.json`, which has those of its other files; concepts that were
    /// learnt by earlier versions have none.
    #[serde(default)]
    pub digests: BTreeMap<ConceptId, String>,
    /// How often each concept was trained further, if it was: its files lie in the folder of this number
    /// inside its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) revisions: BTreeMap<ConceptId, u32>,
    /// Concepts that were removed, and whose directions later ones stay orthogonal to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reserved>,
    /// Removed concepts whose folders have not been removed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leftovers: Vec<ConceptId>,
    /// The sites of the base model.
    pub sites: Vec<Site>,
}

/// What is left of a removed concept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// The id that it had; a later concept may have it too.
    pub id: ConceptId,
    /// SHA-256 of the `concept.json` that it had, if the bank knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The group within which later concepts have to stay orthogonal to it; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// SHA-256 of the file with its B, which is also the file's name.
    pub directions: String,
}

impl BankRecord {
    /// A bank without concepts.
    pub fn new(base: BaseModel, sites: Vec<Site>) -> Self {
        Self {
            version: WITHOUT_REMOVED,
            base,
            method: None,
            concepts: Vec::new(),
            digests: BTreeMap::new(),
            revisions: BTreeMap::new(),
            reserved: Vec::new(),
            leftovers: Vec::new(),
            sites,
        }
    }

    /// The same with one concept more.
    pub(super) fn with(&self, id: &ConceptId, sha256: String, method: &str) -> Self {
        let mut record = Self { method: Some(method.into()), ..self.clone() };
        record.concepts.push(id.clone());
        record.digests.insert(id.clone(), sha256);
        record.in_its_version()
    }

    /// The same with a concept trained further.
    pub(super) fn with_next(&self, id: &ConceptId, sha256: String) -> Self {
        let mut record = self.clone();
        record.revisions.insert(id.clone(), self.revision(id) + 1);
        record.digests.insert(id.clone(), sha256);
        record.in_its_version()
    }

    /// How often a concept was trained further.
    pub(super) fn revision(&self, id: &ConceptId) -> u32 {
        self.revisions.get(id).copied().unwrap_or(0)
    }

    /// The same with one concept less, whose folder is left over, and with what is left of it.
    pub(super) fn without(&self, id: &ConceptId, reserved: Option<Reserved>) -> Self {
        let mut record = self.clone();
        record.concepts.retain(|known| known != id);
        record.digests.remove(id);
        record.revisions.remove(id);
        record.leftovers.push(id.clone());
        record.reserved.extend(reserved);
        record.in_its_version()
    }

    /// The same without the directions of removed concepts of this id.
    pub(super) fn without_reserved(&self, id: &str) -> Self {
        let mut record = self.clone();
        record.reserved.retain(|reserved| reserved.id != *id);
        record.in_its_version()
    }

    /// The same once the folders that were left over are gone.
    pub(super) fn without_leftovers(&self) -> Self {
        Self { leftovers: Vec::new(), ..self.clone() }.in_its_version()
    }

    /// In the oldest version that can say it. The method belongs to what there is of it.
    fn in_its_version(self) -> Self {
        let Self { concepts, reserved, leftovers, .. } = &self;
        let nothing_removed = reserved.is_empty() && leftovers.is_empty();
        let version = match (self.revisions.is_empty(), nothing_removed) {
            (true, true) => WITHOUT_REMOVED,
            (true, false) => WITHOUT_REVISIONS,
            (false, _) => VERSION,
        };
        let is_empty = concepts.is_empty() && reserved.is_empty();
        let method = self.method.clone().filter(|_| !is_empty);
        Self { version, method, ..self }
    }

    /// # Errors
    /// If the file is not there, damaged, written by a newer version, or larger than any bank.
    pub fn read(path: &Path) -> Result<Self> {
        // Before everything else: a newer version may have keys that would be refused.
        let (version, text) = read_with_version(path, LARGEST)?;
        check_version(path, version, VERSION)?;
        let record: Self = parse(path, &text)?;
        record.check().map_err(|reason| Error::damaged(path, reason))?;
        Ok(record)
    }

    /// Checks sizes, and what is used to find a folder or a layer; says which key is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, count, most) in [
            ("concepts", self.concepts.len(), MOST_CONCEPTS),
            ("reserved", self.reserved.len(), MOST_CONCEPTS),
            ("leftovers", self.leftovers.len(), MOST_CONCEPTS),
            ("sites", self.sites.len(), MOST_SITES),
        ] {
            if count > most {
                return Err(format!("`{key}` has {count} entries, and at most {most} are read"));
            }
        }
        let mut folders = BTreeSet::new();
        for (number, id) in self.concepts.iter().enumerate() {
            if !folders.insert(id.to_ascii_lowercase()) {
                return Err(format!("`concepts[{number}]`: `{id}` is listed twice"));
            }
        }
        // The folder of a concept must never be taken for one that is left over.
        if let Some(id) =
            self.leftovers.iter().find(|id| folders.contains(&id.to_ascii_lowercase()))
        {
            return Err(format!("`leftovers`: `{id}` is a concept"));
        }
        for (id, revision) in &self.revisions {
            if !self.concepts.contains(id) || !(1..=MOST_REVISIONS).contains(revision) {
                return Err(format!("`revisions`: `{id}` is {revision}"));
            }
        }
        for (number, Reserved { directions, group, .. }) in self.reserved.iter().enumerate() {
            let is_digest = directions.len() == 64 && directions.bytes().all(is_hexadecimal);
            if !is_digest {
                return Err(format!("`reserved[{number}].directions` is no SHA-256"));
            }
            let group = group.as_deref().unwrap_or_default();
            check_name(&format!("reserved[{number}].group"), group)?;
        }
        self.check_sites()?;
        let BaseModel { fingerprint, tokenizer, prediction: _, name, .. } = &self.base;
        check_name("base.name", name)?;
        check_name("base.fingerprint", fingerprint)?;
        check_name("base.tokenizer", tokenizer.as_deref().unwrap_or_default())?;
        check_name("method", self.method.as_deref().unwrap_or_default())?;
        check_size("base.token_width", self.base.token_width)?;
        match self.base.cross_attention_layers {
            0..=MOST_FEATURES => Ok(()),
            layers => Err(format!("`base.cross_attention_layers` is {layers}")),
        }
    }

    fn check_sites(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for (number, Site { name, inputs, outputs, .. }) in self.sites.iter().enumerate() {
            check_name(&format!("sites[{number}].name"), name)?;
            if name.is_empty() || !names.insert(name) {
                return Err(format!("`sites[{number}].name`: `{name}` is empty or there twice"));
            }
            check_size(&format!("sites[{number}].inputs"), *inputs)?;
            check_size(&format!("sites[{number}].outputs"), *outputs)?;
        }
        Ok(())
    }
}

fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Refuses what would garble a terminal or a table.
pub(super) fn check_name(key: &str, text: &str) -> Result<(), String> {
    if text.len() > LONGEST_NAME {
        return Err(format!(
            "`{key}` has {} bytes, and at most {LONGEST_NAME} are read",
            text.len()
        ));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("`{key}` contains the control character {:?}", c)),
        None => Ok(()),
    }
}

fn check_size(key: &str, size: usize) -> Result<(), String> {
    match (1..=MOST_FEATURES).contains(&size) {
        true => Ok(()),
        false => Err(format!("`{key}` is {size}, and must be between 1 and {MOST_FEATURES}")),
    }
}
