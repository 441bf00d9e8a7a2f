//! What is recorded of every step.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use seqlora_files::open_to_write;
use serde::Serialize;

use super::checkpoint_record::CheckpointRecord;
use super::trainer::StepReport;
use crate::bank::Bank;
use crate::error::{Error, Result};

/// More bytes than a line has: five numbers with their names.
const LONGEST_LINE: u64 = 1024;

/// `metrics.jsonl`: one line per step, without times, so that equal runs write equal files.
pub struct Metrics {
    path: PathBuf,
    file: File,
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
        let mut file = open_to_write(&path)?;
        let mut cut = || {
            // Lines that somebody removed stay away.
            let bytes = bytes.min(file.metadata()?.len());
            let bytes = whole_lines(&mut file, bytes)?;
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))
        };
        let bytes = cut().map_err(Error::io("cannot write", &path))?;
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

/// The length of the whole lines in the first `bytes` of a file: a cut line would break its JSON.
fn whole_lines(file: &mut (impl Read + Seek), bytes: u64) -> io::Result<u64> {
    let start = bytes.saturating_sub(LONGEST_LINE);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(bytes - start).read_to_end(&mut end)?;
    let last = end.iter().rposition(|byte| *byte == b'\n');
    Ok(last.map_or(0, |at| start + at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_does_not_count() {
        let long = format!("{}\n", "x".repeat(LONGEST_LINE as usize));
        let text = format!("{{}}\n[]\n{long}");
        let whole = |bytes| whole_lines(&mut io::Cursor::new(&text), bytes).unwrap();
        let lengths = [0, 1, 2, 3, 5, 6, 7].map(whole);
        assert_eq!(lengths, [0, 0, 0, 3, 3, 6, 6]);
        assert_eq!(whole(text.len() as u64), text.len() as u64);
    }
}
