//! The PyTorch side: a process that does the same work when it is told to (`peer/twin.py`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use burn_seqlora::precision::Precision;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::measure::Measurement;

/// How to start the peer.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// A Python with the packages of `peer/requirements.txt`.
    pub python: PathBuf,
    /// `cpu` or `cuda`
    pub device: String,
    /// `f32` or `bf16`
    pub precision: Precision,
    /// Threads on the CPU.
    pub threads: usize,
    /// Side of the images in pixels.
    pub resolution: usize,
    /// Options of `peer/twin.py` that say which PyTorch it is, such as `--compile`.
    pub kind: Vec<&'static str>,
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it says about itself: versions, device, names of its rows.
    pub about: Value,
}

impl Peer {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If Python or a package is missing.
    pub fn start(options: &PeerOptions, model: Option<&Path>) -> Result<Self, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/twin.py");
        let mut command = Command::new(&options.python);
        command.arg(&script).args(["--device", &options.device]);
        command.args(["--dtype", &options.precision.to_string()]);
        command.args(["--threads", &options.threads.to_string()]);
        command.args(["--resolution", &options.resolution.to_string()]);
        command.args(&options.kind);
        if let Some(model) = model {
            command.arg("--model").arg(model);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", options.python.display()))?;
        let requests = process.stdin.take().ok_or("the peer has no input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("the peer has no output")?);
        let mut peer = Self { process, requests, answers, about: Value::Null };
        peer.about = peer.answer().map_err(|e| {
            format!("{e}; are the packages of benchmarks/peer/requirements.txt installed?")
        })?;
        Ok(peer)
    }

    /// Whether it can do this row.
    pub fn has(&self, row: &str) -> bool {
        self.about["rows"].as_array().is_some_and(|rows| rows.iter().any(|r| r == row))
    }

    /// Builds a row's inputs and runs it once.
    pub fn prepare(&mut self, row: &str) -> Result<(), Failure> {
        self.ask(json!({ "row": row, "prepare": true })).map(drop)
    }

    /// Runs a prepared row a number of times within one timing.
    pub fn measure(&mut self, row: &str, repeat: usize) -> Result<Measurement, Failure> {
        let answer = self.ask(json!({ "row": row, "repeat": repeat }))?;
        Ok(serde_json::from_value(answer)?)
    }

    /// Frees a row's inputs.
    pub fn release(&mut self, row: &str) -> Result<(), Failure> {
        self.ask(json!({ "row": row, "release": true })).map(drop)
    }

    fn ask(&mut self, request: Value) -> Result<Value, Failure> {
        writeln!(self.requests, "{request}")?;
        let answer = self.answer()?;
        match answer.get("error") {
            Some(error) => Err(format!("the peer: {error}").into()),
            None => Ok(answer),
        }
    }

    fn answer(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the peer has ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = writeln!(self.requests, "{}", json!({ "quit": true }));
        let _ = self.process.wait();
    }
}
