//! All that a comparison found with one seed, as a file that stays when banks and images go.

use std::fs;
use std::path::Path;

use burn_seqlora::eval::results::EvaluationSummary;
use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, Run};
use super::demos::Demo;
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

/// What learning by a variant took, and what its demo says of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// The concepts in the order in which they were learnt.
    pub order: Vec<String>,
    /// Seconds of training each concept.
    pub seconds: Vec<f64>,
    /// The share of images of two concepts in which both are found, by the prompt and with boxes.
    pub both_found: Option<[f64; 2]>,
    /// Largest |entry| of B_jᵀ B_i with unit columns.
    pub max_overlap: f64,
    /// Peak memory of learning and sampling.
    pub peak_bytes: Option<u64>,
    /// Of all concepts on disk.
    pub bytes: u64,
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
            learnt: run.demos.iter().map(Learnt::of).collect(),
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

impl Learnt {
    fn of(demo: &Demo) -> Self {
        let concepts = &demo.method.concepts;
        Self {
            order: concepts.iter().map(|concept| concept.id.clone()).collect(),
            seconds: concepts.iter().map(|concept| concept.seconds).collect(),
            both_found: demo.method.pairs.as_ref().map(|pairs| [pairs.prompt, pairs.boxes]),
            max_overlap: demo.method.max_overlap,
            peak_bytes: demo.took.peak_bytes,
            bytes: size(&demo.bank().join("concepts")),
        }
    }
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.map(of).sum()
}
