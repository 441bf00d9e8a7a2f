//! The ids of concepts.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The longest id: it leaves room for suffixes below the 255 bytes that file systems allow.
const LONGEST: usize = 100;

/// Whether `id` can name a concept in prompts and its folder on every system: letters A-Z a-z, digits,
/// `.`, `_` and `-`, at most 100 of them, the first a letter or digit and the last no `.`.
pub fn is_concept_id(id: &str) -> bool {
    id.len() <= LONGEST
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        // Windows drops a trailing dot, and two ids would share a folder.
        && !id.ends_with('.')
}

/// An id that has been checked by [`is_concept_id`]: it can be the name of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ConceptId(String);

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a valid id of a concept: letters A-Z a-z, digits, `.`, `_` and `-`, at most {LONGEST}, \
     the first a letter or digit and the last no `.`",
    .0.escape_debug()
)]
pub struct InvalidId(String);

impl ConceptId {
    /// Checks an id.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        if is_concept_id(&id) { Ok(Self(id)) } else { Err(InvalidId(id)) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ConceptId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConceptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ConceptId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl From<ConceptId> for String {
    fn from(id: ConceptId) -> Self {
        id.0
    }
}

impl From<&ConceptId> for String {
    fn from(id: &ConceptId) -> Self {
        id.0.clone()
    }
}

impl PartialEq<str> for ConceptId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for ConceptId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_folder_names() {
        for good in ["a", "bear_plushie-2.1", "7", &"a".repeat(100)] {
            assert_eq!(ConceptId::new(good).unwrap(), good);
        }
        let long = "a".repeat(101);
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "-rf", "dog.", "é", &long] {
            assert!(ConceptId::new(bad).is_err(), "{bad}");
        }
        let escape = ConceptId::new("\u{1b}[2J").unwrap_err().to_string();
        assert!(!escape.contains('\u{1b}'), "{escape}");
    }
}
