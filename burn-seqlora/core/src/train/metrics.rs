//! What is recorded of every step.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::checkpoint::CheckpointRecord;
use super::trainer::StepReport;
use crate::bank::{Bank, ConceptId};
use crate::error::Result;

/// `metrics.jsonl`: one line per step, without times, so that equal runs write equal files.
pub struct Metrics<'a> {
    bank: &'a Bank,
    /// The file in the bank's folder.
    file: PathBuf,
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

impl<'a> Metrics<'a> {
    /// Goes on where the checkpoint left off: lines of steps that will be repeated are cut.
    pub fn open(bank: &'a Bank, id: &ConceptId) -> Result<Self> {
        let file = Bank::metrics_inside(id);
        let bytes = CheckpointRecord::find(bank, id)?.map_or(0, |record| record.metrics_bytes);
        // Lines that somebody removed stay away.
        let length = fs::metadata(bank.path().join(&file)).map_or(0, |metadata| metadata.len());
        let mut metrics = Self { bank, file, bytes: bytes.min(length) };
        bank.folder().create_folder(Bank::inside(id))?;
        metrics.write(b"")?;
        Ok(metrics)
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
        self.write(line.as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bank.folder().append(&self.file, self.bytes, bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Brings the lines to the disk; returns how many bytes they are.
    pub fn sync(&self) -> Result<u64> {
        self.bank.folder().sync(&self.file)?;
        Ok(self.bytes)
    }
}
