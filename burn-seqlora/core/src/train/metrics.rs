//! What is recorded of every step.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::checkpoint::CheckpointRecord;
use super::trainer::StepReport;
use crate::bank::Bank;
use crate::error::{Error, Result};

/// `metrics.jsonl`: one line per step, without times, so that equal runs write equal files.
pub struct Metrics {
    path: PathBuf,
    file: fs::File,
    bytes: u64,
}

#[derive(Serialize)]
struct MetricsLine {
    step: usize,
    loss: f64,
    hypergradient_norm: f64,
    overlap: f64,
    embedding_norm: f64,
}

impl Metrics {
    /// Goes on where the checkpoint left off: lines of steps that will be repeated are cut.
    pub fn open(bank: &Bank, id: &str) -> Result<Self> {
        let folder = bank.concept_folder(id);
        fs::create_dir_all(&folder).map_err(Error::io("cannot create", &folder))?;
        let path = folder.join("metrics.jsonl");
        let bytes = CheckpointRecord::find(bank, id)?.map_or(0, |record| record.metrics_bytes);
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            // Lines that somebody removed stay away.
            let bytes = bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(Error::io("cannot write", &path))?;
        Ok(Self { path, file, bytes })
    }

    /// Adds a step's line.
    pub fn append(&mut self, report: &StepReport) -> Result<()> {
        let line = MetricsLine {
            step: report.step,
            loss: report.loss,
            hypergradient_norm: report.hypergradient,
            overlap: report.overlap,
            embedding_norm: report.embedding_norm,
        };
        let line = serde_json::to_string(&line).expect("numbers are JSON") + "\n";
        self.bytes += line.len() as u64;
        self.file.write_all(line.as_bytes()).map_err(Error::io("cannot write", &self.path))
    }

    /// Brings the lines to the disk; returns how many bytes they are.
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(Error::io("cannot write", &self.path))?;
        Ok(self.bytes)
    }
}
