//! What a file of fused weights was made of.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bank::{Bank, BaseModel, ConceptId};
use crate::compose::Member;
use crate::error::{Error, Result};

/// The newest layout.
const VERSION: u32 = 1;

/// What a file of fused weights was made of, and belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusedOrigin {
    version: u32,
    /// The fingerprint of the base model.
    pub base: String,
    /// The fusion's name.
    pub method: String,
    /// The rank that the result was cut to, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The concepts, in the order in which they were given.
    pub concepts: Vec<FusedConcept>,
}

/// A concept that was fused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusedConcept {
    /// The concept.
    pub id: ConceptId,
    /// Its strength.
    pub scale: f64,
    /// SHA-256 of its `concept.json`, which has those of its other files, if the bank knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl FusedOrigin {
    /// That of what a fusion makes of some concepts of a bank.
    ///
    /// # Errors
    /// If one is not in the bank.
    pub fn new(method: &str, bank: &Bank, members: &[Member], rank: Option<usize>) -> Result<Self> {
        let concept = |member: &Member| {
            let id = bank.find(&member.id)?;
            let record = bank.record_digest(id).map(String::from);
            Ok(FusedConcept { id: id.clone(), scale: member.scale, record })
        };
        Ok(Self {
            version: VERSION,
            base: bank.base().fingerprint.clone(),
            method: method.into(),
            rank,
            concepts: members.iter().map(concept).collect::<Result<_>>()?,
        })
    }

    /// Reads it from the JSON in the header of `file`.
    ///
    /// # Errors
    /// If it is damaged, or of a newer version.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u64,
        }
        let damaged = |error: serde_json::Error| Error::damaged(file, error);
        let Head { version } = serde_json::from_str(text).map_err(damaged)?;
        match version {
            1 => serde_json::from_str(text).map_err(damaged),
            _ => Err(Error::NewerVersion { path: file.into(), version, known: VERSION }),
        }
    }

    /// Checks that the weights are of this base model, and that they hold the concepts that are to be used, as the
    /// bank has them now.
    ///
    /// # Errors
    /// [`Error::OtherFusion`].
    pub fn check(
        &self,
        file: &Path,
        base: &BaseModel,
        bank: Option<&Bank>,
        used: &[Member],
    ) -> Result<()> {
        let other = |reason: String| Err(Error::OtherFusion { file: file.into(), reason });
        if self.base != base.fingerprint {
            return other(format!(
                "it was made for a model with the fingerprint {}, and this one is {base}",
                self.base
            ));
        }
        if let Some(Member { id, .. }) =
            used.iter().find(|member| self.concepts.iter().all(|fused| fused.id != *member.id))
        {
            return other(format!("<{id}> is not among the concepts that it was made of"));
        }
        let Some(bank) = bank else { return Ok(()) };
        let is_other = |fused: &&FusedConcept| {
            let now = bank.find(&fused.id).ok().and_then(|id| bank.record_digest(id));
            now.zip(fused.record.as_deref()).is_some_and(|(now, then)| now != then)
        };
        match self.concepts.iter().find(is_other) {
            None => Ok(()),
            Some(FusedConcept { id, .. }) => {
                other(format!("<{id}> was replaced or trained further since it was made"))
            }
        }
    }
}
