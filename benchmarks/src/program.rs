//! The program `seqlora` as a child process, whose time and peak memory are measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::measure::{Measurement, peak_bytes};

/// How often a child's peak memory is read. What it grows by in its last instants is missed.
const PERIOD: Duration = Duration::from_millis(100);

/// What a command took that ended well.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    arguments: Vec<String>,
    took: Measurement,
}

/// What all benchmarks take that run the program.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The program.
    #[arg(long, default_value = "target/release/seqlora", value_name = "FILE")]
    seqlora: PathBuf,
    /// Where everything goes; what is there already is not done again.
    #[arg(long, value_name = "DIR")]
    pub work: PathBuf,
    /// Writes all numbers.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl RunOptions {
    /// The program.
    pub fn program(&self) -> Program {
        Program(self.seqlora.clone())
    }

    /// Writes all numbers, if that was asked for.
    pub fn write_json(&self, numbers: &impl Serialize) -> Result<(), Failure> {
        if let Some(file) = &self.json {
            fs::write(file, serde_json::to_string_pretty(numbers)? + "\n")?;
        }
        Ok(())
    }
}

/// Where the program is.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// One of its commands, without a progress bar.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.args([name, "--quiet"]).stdout(Stdio::null());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot be started, or fails.
    pub fn run(&self, mut command: Command) -> Result<Measurement, Failure> {
        let start = Instant::now();
        let mut child =
            command.spawn().map_err(|e| format!("cannot start {}: {e}", self.0.display()))?;
        let status = format!("/proc/{}/status", child.id());
        let mut peak = None;
        let ended = loop {
            peak = peak_bytes(Path::new(&status)).or(peak);
            match child.try_wait()? {
                Some(ended) => break ended,
                None => sleep(PERIOD),
            }
        };
        match ended.success() {
            true => Ok(Measurement { seconds: start.elapsed().as_secs_f64(), peak_bytes: peak }),
            false => Err(format!("{command:?} ended with {ended}").into()),
        }
    }

    /// Runs a command that takes `--shard`, in so many processes of one thread each: images of the toy world are too small to keep
    /// several threads busy (two did 1.5 images a second, two processes 2.6).
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub fn run_in_parts(&self, command: impl Fn() -> Command, parts: usize) -> Result<(), Failure> {
        let part = |number: usize| {
            let mut command = command();
            command.env("RAYON_NUM_THREADS", "1").args(["--shard", &format!("{number}/{parts}")]);
            command
        };
        thread::scope(|scope| {
            let run = |command| scope.spawn(move || self.run(command).map_err(|e| e.to_string()));
            let all: Vec<_> = (1..=parts).map(part).map(run).collect();
            for run in all {
                run.join().expect("it does not panic")?;
            }
            Ok(())
        })
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be started, fails, or prints what is no text.
    pub fn output(&self, mut command: Command) -> Result<String, Failure> {
        let output = command.stdout(Stdio::piped()).output();
        let output = output.map_err(|e| format!("cannot start {}: {e}", self.0.display()))?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(format!("{command:?} ended with {}", output.status).into()),
        }
    }

    /// Runs a command unless an earlier run of it ended well, and notes in `file` what it took. One that was
    /// interrupted and goes on has only the rest measured.
    ///
    /// # Errors
    /// Those of [`Self::run`], or if the note is of another command.
    pub fn run_once(&self, command: Command, file: &Path) -> Result<Measurement, Failure> {
        let arguments = command.get_args().map(|text| text.to_string_lossy().into_owned());
        let arguments = arguments.collect();
        if file.exists() {
            let note: Note = serde_json::from_str(&fs::read_to_string(file)?)?;
            return match note.arguments == arguments {
                true => Ok(note.took),
                false => Err(format!(
                    "{} is of {:?}, not of {arguments:?}",
                    file.display(),
                    note.arguments
                )
                .into()),
            };
        }
        let took = self.run(command)?;
        fs::write(file, serde_json::to_string_pretty(&Note { arguments, took })? + "\n")?;
        Ok(took)
    }

    /// [`Self::run_once`] for a command that makes a folder or a file, with the note beside it. What is there without a
    /// note is what an interrupted run left, and is removed.
    ///
    /// # Errors
    /// Those of [`Self::run_once`].
    pub fn run_once_into(&self, command: Command, made: &Path) -> Result<Measurement, Failure> {
        let note = made.with_extension("json");
        if made.exists() && !note.exists() {
            match made.is_dir() {
                true => fs::remove_dir_all(made)?,
                false => fs::remove_file(made)?,
            }
        }
        self.run_once(command, &note)
    }
}

/// A part of the work, such as `1/2`: which one, from 0 on, and how many there are.
pub fn parse_part(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((number, count)) if (1..=count).contains(&number) => Ok((number - 1, count)),
        _ => Err(format!("`{text}` is no part like 1/2")),
    }
}
