//! Whose directions there are, and what they are.

use super::super::down::Down;
use super::super::{ConceptId, ConceptRecord};

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
}

/// Of an owner whose own files are damaged: what the cache still knows.
#[derive(Debug, Clone)]
pub struct CachedRanks {
    /// Whether later concepts have to stay orthogonal to it.
    pub reserves_directions: bool,
    /// The group within which they have to.
    pub group: Option<String>,
    /// The rank at each of the bank's sites.
    pub ranks: Vec<usize>,
}

/// Whether a new concept of a group, or of none, has to stay orthogonal to one of another.
pub fn concerns(new: Option<&str>, earlier: Option<&str>) -> bool {
    new.is_none() || new == earlier
}
