//! What a bank says of one concept: what inference needs, and how it was trained.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::sha256;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ConceptId;
use super::record::check_name;
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// The newest layout. Version 2 has no digests of `training.json` and `metrics.jsonl`, version 3 no groups.
pub(super) const VERSION: u32 = 4;

/// The version of a concept without a group: programs that know no other can read it.
const WITHOUT_GROUP: u32 = 3;

/// The largest `concept.json` in bytes: 1000 sites take 0.2 MB.
pub(super) const LARGEST: u64 = 16 << 20;

/// CLIP's prompts have 77 tokens, of which the first and the last mark the ends.
const MOST_WORDS: usize = 75;

/// A word has one embedding per cross-attention layer at most: 16 in SD1.5, 70 in SDXL's UNet.
const MOST_EMBEDDINGS_PER_WORD: usize = 1024;

/// The largest adapter in bytes: all layers of SDXL at rank 128 take 1.3 GB.
const LARGEST_ADAPTER: usize = 2 << 30;

/// `concept.json`: what inference needs. It is strict: unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptRecord {
    version: u32,
    /// Its name in prompts: `<id>`.
    pub id: ConceptId,
    /// What kind of thing it is.
    pub class_word: String,
    /// The number of words that it stands for.
    pub words: usize,
    /// The number of token embeddings that each word owns.
    pub embeddings_per_word: usize,
    /// Whether later concepts have to stay orthogonal to it.
    pub reserves_directions: bool,
    /// The group within which concepts are orthogonal to each other; `None` if it is orthogonal to all
    /// that were there before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The adapted sites by name.
    pub sites: BTreeMap<String, AdaptedSite>,
    /// SHA-256 of its other files, in hexadecimal, by name; empty in banks of version 1.
    pub digests: BTreeMap<String, String>,
}

/// A site's sizes and the concept's rank there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptedSite {
    /// r
    pub rank: usize,
    /// m
    pub inputs: usize,
    /// n
    pub outputs: usize,
}

/// `training.json`: how a concept was trained, for people and for resumed runs. Programs read past keys
/// that they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// The name of the method.
    pub method: String,
    /// The names of the reference images.
    pub images: Vec<String>,
    /// A digest of the reference images, masks and captions.
    pub data_digest: String,
    /// Minibatches trained.
    pub steps: usize,
    /// Loss on the probes before training; NaN, which is null in JSON, if another program trained it.
    #[serde(deserialize_with = "number_or_nan")]
    pub initial_loss: f64,
    /// Loss on the same probes after training.
    #[serde(deserialize_with = "number_or_nan")]
    pub final_loss: f64,
    /// The settings, as the program that trained it had them.
    pub settings: Value,
    /// The program and version that trained it.
    pub trained_by: String,
}

fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl ConceptRecord {
    /// A record without digests yet, for an adapter.
    pub fn new(
        id: &ConceptId,
        class_word: &str,
        [words, embeddings_per_word]: [usize; 2],
        reserves_directions: bool,
        adapter: &StoredAdapter,
    ) -> Self {
        let site = |factors: &StoredFactors| AdaptedSite {
            rank: factors.rank,
            inputs: factors.inputs(),
            outputs: factors.outputs(),
        };
        Self {
            version: WITHOUT_GROUP,
            id: id.clone(),
            class_word: class_word.into(),
            words,
            embeddings_per_word,
            reserves_directions,
            group: None,
            sites: adapter.0.iter().map(|(name, f)| (name.clone(), site(f))).collect(),
            digests: BTreeMap::new(),
        }
    }

    /// The same in a group, or in none.
    pub fn in_group(self, group: Option<String>) -> Self {
        let version = if group.is_some() { VERSION } else { WITHOUT_GROUP };
        Self { version, group, ..self }
    }

    /// Checks a record for a concept of a bank with these sites.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub(super) fn check(&self, sites: &[Site]) -> Result<(), String> {
        check_name("class_word", &self.class_word)?;
        check_name("group", self.group.as_deref().unwrap_or_default())?;
        for (key, value, most) in [
            ("words", self.words, MOST_WORDS),
            ("embeddings_per_word", self.embeddings_per_word, MOST_EMBEDDINGS_PER_WORD),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("`{key}` is {value}, and must be between 1 and {most}"));
            }
        }
        let known: BTreeMap<&str, &Site> = sites.iter().map(|s| (s.name.as_str(), s)).collect();
        for (name, adapted) in &self.sites {
            let AdaptedSite { rank, inputs, outputs } = *adapted;
            let site = known.get(name.as_str());
            if site.is_none_or(|site| (site.inputs, site.outputs) != (inputs, outputs)) {
                let sizes = format!("{inputs} inputs and {outputs} outputs");
                return Err(format!("`sites`: the bank has no `{name}` of {sizes}"));
            }
            let most = inputs.min(outputs);
            if !(1..=most).contains(&rank) {
                return Err(format!(
                    "`sites`: the rank of `{name}` is {rank}, and must be between 1 and {most}"
                ));
            }
        }
        match self.adapter_bytes() {
            0..=LARGEST_ADAPTER => Ok(()),
            bytes => Err(format!(
                "`sites`: factors of these sizes take {bytes} bytes, and at most {LARGEST_ADAPTER} are read"
            )),
        }
    }

    /// The bytes of its factors in f32.
    pub(super) fn adapter_bytes(&self) -> usize {
        let bytes = |s: &AdaptedSite| s.rank.saturating_mul(s.inputs + s.outputs).saturating_mul(4);
        self.sites.values().map(bytes).fold(0, usize::saturating_add)
    }

    /// The rank at each of these sites; 0 where it is not adapted.
    pub fn ranks(&self, sites: &[Site]) -> Vec<usize> {
        sites.iter().map(|site| self.sites.get(&site.name).map_or(0, |s| s.rank)).collect()
    }

    /// Adds the digest of a file.
    pub fn add_digest(&mut self, name: &str, sha256: String) {
        self.digests.insert(name.into(), sha256);
    }

    /// Checks a file against its digest, if there is one.
    ///
    /// # Errors
    /// If it differs.
    pub fn check_digest(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.digests.get(name) {
            Some(expected) => check_sha256(path, bytes, expected, "concept.json"),
            None => Ok(()),
        }
    }
}

/// Checks a file against the digest that another file says.
///
/// # Errors
/// If it differs.
pub(super) fn check_sha256(path: &Path, bytes: &[u8], expected: &str, from: &str) -> Result<()> {
    match sha256(bytes) == expected {
        true => Ok(()),
        false => {
            let reason = format!("its SHA-256 is not the one in {from}; restore it from a copy");
            Err(Error::damaged(path, reason))
        }
    }
}
