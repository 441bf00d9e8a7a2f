//! All that a comparison found with one seed, as a file that stays when banks and images go.

use std::fs;
use std::path::Path;

use burn_seqlora::eval::results::EvaluationSummary;
use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, Run};
use super::learnt::Learnt;
use crate::failure::Failure;

/// The scores of all methods with one seed, and what they cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedResult {
    /// What was compared, with this seed alone.
    pub comparison: Comparison,
    /// Of each variant.
    pub learnt: Vec<Learnt>,
    /// Of each fusion.
    pub fused: Vec<Fused>,
    /// The scores.
    pub evaluation: EvaluationSummary,
}

/// What a fusion took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// From the bank to the fused weights.
    pub seconds: f64,
    /// Peak memory.
    pub peak_bytes: Option<u64>,
    /// Of its file.
    pub bytes: u64,
}

impl SeedResult {
    /// What a run left.
    pub fn new(comparison: Comparison, run: &Run, evaluation: EvaluationSummary) -> Self {
        let fused = run.fusions.iter().map(|(took, bytes)| Fused {
            seconds: took.seconds,
            peak_bytes: took.peak_bytes,
            bytes: *bytes,
        });
        Self {
            learnt: run.banks.iter().map(|(_, learnt)| learnt.clone()).collect(),
            fused: fused.collect(),
            comparison,
            evaluation,
        }
    }

    /// Reads a file that [`write`](Self::write) wrote; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is of another comparison.
    pub fn read(file: &Path, comparison: &Comparison) -> Result<Option<Self>, Failure> {
        if !file.exists() {
            return Ok(None);
        }
        let result: Self = serde_json::from_str(&fs::read_to_string(file)?)
            .map_err(|e| format!("{}: {e}", file.display()))?;
        match result.comparison == *comparison {
            true => Ok(Some(result)),
            false => Err(format!("{} is of another comparison", file.display()).into()),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(file, serde_json::to_string(self)? + "\n")?)
    }
}
