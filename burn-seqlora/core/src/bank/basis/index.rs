//! `index.json`: which blocks the cache has, and where they lie.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::ConceptId;
use super::owner::{CachedRanks, Owner};
use crate::lora::Site;

/// Version 1 did not say which `concept.json` a block belongs to.
pub const VERSION: u32 = 2;

/// `index.json`
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The layout.
    pub version: u32,
    /// The names of the bank's sites, in its order.
    pub sites: Vec<String>,
    /// The blocks, in the order of the file.
    pub concepts: Vec<Entry>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its owner.
    pub id: ConceptId,
    /// SHA-256 of the `concept.json` that it belongs to, if the bank knows it.
    pub record: Option<String>,
    /// Whether later concepts have to stay orthogonal to it.
    pub reserves_directions: bool,
    /// The group within which they have to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The rank at each of the sites; 0 where it is not adapted.
    pub ranks: Vec<usize>,
    /// Of the block.
    pub sha256: String,
}

impl Index {
    /// The bytes of all that it lists.
    pub fn bytes(&self, sites: &[Site]) -> u64 {
        self.concepts.iter().map(|entry| entry.bytes(sites)).sum()
    }

    /// Where the blocks begin in the file, and their entries.
    pub fn blocks(&self, sites: &[Site]) -> Blocks<'_> {
        let mut start = 0;
        let mut blocks = BTreeMap::new();
        for entry in &self.concepts {
            blocks.insert((entry.id.as_str(), entry.record.as_deref()), (start, entry));
            start += entry.bytes(sites);
        }
        Blocks(blocks)
    }
}

/// Blocks by their owner's id and record.
pub struct Blocks<'a>(BTreeMap<(&'a str, Option<&'a str>), (u64, &'a Entry)>);

impl<'a> Blocks<'a> {
    /// Where an owner's block begins, and its entry.
    pub fn of(&self, owner: &Owner) -> Option<(u64, &'a Entry)> {
        self.0.get(&(owner.id.as_str(), owner.record.as_deref())).copied()
    }
}

impl Entry {
    /// The bytes of its block.
    pub fn bytes(&self, sites: &[Site]) -> u64 {
        self.ranks.iter().zip(sites).map(|(rank, site)| site_bytes(*rank, site)).sum()
    }

    /// What it says besides the directions.
    pub fn ranks(&self) -> CachedRanks {
        let Self { reserves_directions, group, ranks, .. } = self.clone();
        CachedRanks { reserves_directions, group, ranks }
    }
}

/// The bytes of Bᵀ `[rank, inputs]`.
pub fn site_bytes(rank: usize, site: &Site) -> u64 {
    4 * rank as u64 * site.inputs as u64
}
