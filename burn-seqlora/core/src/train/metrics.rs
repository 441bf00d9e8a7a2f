//! What is recorded of every step.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use seqlora_files::open_regular;
use serde::Serialize;

use super::checkpoint_record::CheckpointRecord;
use super::trainer::StepReport;
use crate::bank::{Bank, ConceptId};
use crate::error::{Error, Result};

/// More bytes than a line has: five numbers with their names.
const LONGEST_LINE: u64 = 1024;

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
    /// Goes on where the checkpoint left off: lines of steps that will be repeated are cut. Without a checkpoint, it
    /// begins with the lines of the training before, if the concept is in the bank.
    pub fn open(bank: &'a Bank, id: &ConceptId) -> Result<Self> {
        let file = bank.metrics_inside(id);
        let record = CheckpointRecord::find(bank, id)?;
        let before = match bank.contains(id) && record.is_none() {
            true => bank.metrics(&bank.record(id)?)?,
            false => Vec::new(),
        };
        let bytes = record.map_or(0, |record| record.metrics_bytes);
        // Lines that somebody removed stay away.
        let bytes = match open_regular(&bank.folder().check(&file)?) {
            Ok((mut lines, length)) => whole_lines(&mut lines, bytes.min(length))
                .map_err(Error::io("cannot read", bank.path().join(&file)))?,
            Err(_) => 0,
        };
        bank.folder().create_folder(bank.training_inside(id))?;
        let mut metrics = Self { bank, file, bytes };
        metrics.write(&before)?;
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
