//! What learning by a variant took, and what came of it.

use std::fs;
use std::path::Path;

use burn_seqlora::bank::{Bank, max_overlap};
use burn_seqlora::check::greatest;
use serde::{Deserialize, Serialize};

use super::demos::Demo;
use crate::failure::Failure;
use crate::measure::Measurement;

/// What learning by a variant took, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// The concepts in the order in which they were learnt.
    pub order: Vec<String>,
    /// Seconds of training each concept.
    pub seconds: Vec<f64>,
    /// Seconds of all, if each worker has a machine of its own.
    pub elapsed_seconds: Option<f64>,
    /// The share of images of two concepts in which both are found, by the prompt and with boxes.
    pub both_found: Option<[f64; 2]>,
    /// Largest |entry| of B_jᵀ B_i with unit columns.
    pub max_overlap: f64,
    /// Peak memory of learning and sampling.
    pub peak_bytes: Option<u64>,
    /// Of all concepts on disk.
    pub bytes: u64,
}

impl Learnt {
    /// What a demo says.
    pub fn of_demo(demo: &Demo) -> Self {
        let concepts = &demo.method.concepts;
        let seconds: Vec<f64> = concepts.iter().map(|concept| concept.seconds).collect();
        Self {
            order: concepts.iter().map(|concept| concept.id.clone()).collect(),
            elapsed_seconds: Some(seconds.iter().sum()),
            seconds,
            both_found: demo.method.pairs.as_ref().map(|pairs| [pairs.prompt, pairs.boxes]),
            max_overlap: demo.method.max_overlap,
            peak_bytes: demo.took.peak_bytes,
            bytes: size(&demo.bank().join("concepts")),
        }
    }

    /// What workers learnt, each of `workers` what it took for how many concepts, in the bank that their banks were merged
    /// into.
    ///
    /// # Errors
    /// If the bank cannot be read.
    pub fn of_workers(bank: &Path, workers: &[(Measurement, usize)]) -> Result<Self, Failure> {
        let merged = Bank::open(bank)?;
        let seconds = |(took, concepts): &(Measurement, usize)| {
            vec![took.seconds / *concepts as f64; *concepts]
        };
        let peaks = workers.iter().map(|(took, _)| took.peak_bytes);
        Ok(Self {
            order: merged.concepts().iter().map(|id| id.to_string()).collect(),
            elapsed_seconds: Some(greatest(workers.iter().map(|(took, _)| took.seconds))),
            seconds: workers.iter().flat_map(seconds).collect(),
            both_found: None,
            max_overlap: max_overlap(&merged)?,
            peak_bytes: peaks.collect::<Option<Vec<u64>>>().and_then(|p| p.into_iter().max()),
            bytes: size(&bank.join("concepts")),
        })
    }

    /// The largest overlap of several runs; NaN if one is.
    pub fn most_overlap(runs: &[&Self]) -> f64 {
        greatest(runs.iter().map(|run| run.max_overlap))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nan_vanishes_among_runs() {
        let run = |max_overlap| Learnt {
            order: Vec::new(),
            seconds: Vec::new(),
            elapsed_seconds: None,
            both_found: None,
            max_overlap,
            peak_bytes: None,
            bytes: 0,
        };
        let (none, small) = (run(f64::NAN), run(0.5));
        assert_eq!(Learnt::most_overlap(&[&small]), 0.5);
        for runs in [[&none, &small], [&small, &none]] {
            assert!(Learnt::most_overlap(&runs).is_nan());
        }
    }
}
