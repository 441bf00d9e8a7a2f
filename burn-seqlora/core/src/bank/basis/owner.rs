//! Whose directions there are, and what they are.

use super::super::down::Down;
use super::super::{ConceptId, ConceptRecord};
use crate::error::Result;
use crate::lora::Site;

/// Whose directions a block holds: a concept of the bank, or one that was removed and left them reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The concept.
    pub id: ConceptId,
    /// SHA-256 of its `concept.json`, if the bank knows it.
    pub record: Option<String>,
}

/// What an owner's own files say of its directions.
#[derive(Debug, Clone)]
pub struct Block {
    /// Whether later concepts have to stay orthogonal to them.
    pub reserves_directions: bool,
    /// The group within which they have to; `None` for all concepts.
    pub group: Option<String>,
    /// The directions.
    pub down: Down,
}

impl Block {
    /// That of a concept, with its directions.
    pub fn of(record: &ConceptRecord, down: Down) -> Self {
        let ConceptRecord { reserves_directions, group, .. } = record;
        Self { reserves_directions: *reserves_directions, group: group.clone(), down }
    }

    /// Bᵀ of all of a bank's sites, one after the other, in f32.
    pub fn bytes(&self, sites: &[Site]) -> Vec<u8> {
        let numbers = sites.iter().flat_map(|site| self.down.at(site));
        numbers.flat_map(|x| x.to_le_bytes()).collect()
    }

    /// Whether it is what a cache says.
    pub fn is(&self, cached: &CachedRanks, columns: &[u8], sites: &[Site]) -> bool {
        let CachedRanks { reserves_directions, group, ranks } = cached;
        self.reserves_directions == *reserves_directions
            && self.group == *group
            && self.down.ranks(sites) == *ranks
            && self.bytes(sites) == columns
    }
}

/// Of an owner whose own files are damaged: what the cache still knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedRanks {
    /// Whether later concepts have to stay orthogonal to it.
    pub reserves_directions: bool,
    /// The group within which they have to.
    pub group: Option<String>,
    /// The rank at each of the bank's sites.
    pub ranks: Vec<usize>,
}

/// The owners' own files, which are right where the cache says something else.
pub trait OwnFiles {
    /// The directions of an owner.
    ///
    /// # Errors
    /// If its files are missing or damaged.
    fn block(&self, owner: &Owner) -> Result<Block>;

    /// Whether they say something else than a cached block, whose Bᵀ of all sites are these bytes. Files that are
    /// damaged say nothing.
    fn contradict(&self, owner: &Owner, cached: &CachedRanks, columns: &[u8]) -> bool;
}

/// Whether a new concept of a group, or of none, has to stay orthogonal to one of another.
pub fn concerns(new: Option<&str>, earlier: Option<&str>) -> bool {
    new.is_none() || new == earlier
}
