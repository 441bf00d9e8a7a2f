//! Both sides by turns, and the table of ratios.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use burn::backend::Autodiff;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::models::{ModelSource, SourceOptions, StableDiffusion};
use burn_seqlora::precision::Precision;
use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::measure::{Measurement, cores, measure};
use crate::peer::{Peer, PeerOptions};
use crate::row::Row;
use crate::{operations, whole_model};

/// A timing lasts at least this long; faster work is repeated within it.
const TIMING_SECONDS: f64 = 0.1;

/// Where this runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// Burn's Flex with this project's kernels.
    Cpu,
    /// CUDA.
    Cuda,
}

/// What both sides compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Numbers {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32; factors stay in f32.
    Bf16,
}

impl From<Numbers> for Precision {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::F32 => Self::F32,
            Numbers::Bf16 => Self::Bf16,
        }
    }
}

/// Which rows, on what, against what.
#[derive(Debug, Args)]
pub struct Options {
    /// Only rows whose name contains this; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Where both sides run.
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// A diffusers folder: adds the rows on the whole model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// What the frozen model computes in; the operations by themselves too.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    precision: Numbers,
    /// Side of the images in pixels.
    #[arg(long, default_value_t = 256)]
    resolution: usize,
    /// Timings of each row on each side.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Threads on the CPU; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// A Python with the packages of benchmarks/peer/requirements.txt.
    #[arg(long, default_value = "python3", value_name = "FILE")]
    python: PathBuf,
    /// PyTorch as it comes, without the tuning that the peer does.
    #[arg(long)]
    stock: bool,
    /// PyTorch with `torch.compile`: only the rows that it can do.
    #[arg(long)]
    compile: bool,
    /// PyTorch with jvp_flash_attention: only the rows that it can do, on CUDA.
    #[arg(long)]
    jvp_flash: bool,
    /// Writes one JSON object per row.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    /// Runs the comparison.
    ///
    /// # Errors
    /// If the peer or the model cannot be had.
    pub fn run(&self) -> Result<(), Failure> {
        let threads = self.threads.unwrap_or_else(cores);
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        match self.device {
            #[cfg(feature = "cpu")]
            Device::Cpu => {
                // On a thread of the pool, as `seqlora` does.
                let run = |_: &_| {
                    let done = self.run_on::<Autodiff<burn_seqlora::kernels::Flex>>(
                        threads,
                        Default::default(),
                    );
                    done.map_err(|failure| failure.to_string())
                };
                Ok(rayon::scope(run)?)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda => {
                self.run_on::<Autodiff<burn_seqlora::kernels::Cuda>>(threads, Default::default())
            }
            #[allow(unreachable_patterns)]
            device => Err(format!("built without {device:?}").into()),
        }
    }

    fn kind(&self) -> Vec<&'static str> {
        let all =
            [(self.stock, "--stock"), (self.compile, "--compile"), (self.jvp_flash, "--jvp-flash")];
        all.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, option)| option).collect()
    }

    fn run_on<B: TrainBackend>(&self, threads: usize, device: B::Device) -> Result<(), Failure> {
        let precision = Precision::from(self.precision);
        let options = PeerOptions {
            python: self.python.clone(),
            device: format!("{:?}", self.device).to_lowercase(),
            precision,
            threads,
            resolution: self.resolution,
            kind: self.kind(),
        };
        let model = self.model.as_deref();
        let mut comparison = Comparison {
            peer: Peer::start(&options, model)?,
            turns: self.turns,
            rests: self.device == Device::Cpu,
            json: self.json.as_deref().map(File::create).transpose()?,
        };
        comparison.header();
        let wanted = |row: &Row| {
            self.only.is_empty() || self.only.iter().any(|part| row.name.contains(part))
        };
        for row in operations::rows::<B>((&device, precision.dtype())).into_iter().filter(&wanted) {
            comparison.run(&row)?;
        }
        if let Some(model) = model {
            let source = ModelSource::open(model, &SourceOptions::default())?;
            let model = StableDiffusion::<B>::from_source(&source, precision, &device)?;
            let setup = whole_model::Setup::new(model, precision, self.resolution)?;
            for row in setup.rows().into_iter().filter(&wanted) {
                comparison.run(&row)?;
            }
        }
        Ok(())
    }
}

struct Comparison {
    peer: Peer,
    turns: usize,
    /// Whether the threads of one side could disturb the other.
    rests: bool,
    json: Option<File>,
}

impl Comparison {
    fn header(&self) {
        let about = &self.peer.about;
        println!(
            "PyTorch {}, {} threads, {}; medians (least–most) of {} turns",
            about["torch"].as_str().unwrap_or("?"),
            about["threads"],
            about["device_name"].as_str().unwrap_or("?"),
            self.turns
        );
        println!(
            "{:44} {:>11} {:>11} {:>18} {:>9} {:>9}",
            "row", "ours", "PyTorch", "ratio", "ours GB", "PyT. GB"
        );
    }

    /// Lets the other side's threads fall asleep: OpenMP's spin for a while after their work.
    fn rest(&self) {
        if self.rests {
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn run(&mut self, row: &Row) -> Result<(), Failure> {
        if !self.peer.has(&row.name) {
            println!("{:44} not in this PyTorch", row.name);
            return Ok(());
        }
        self.peer.prepare(&row.name)?;
        let mut work = (row.prepare)();
        work();
        let slower = measure(1, &mut work).seconds.max(self.peer.measure(&row.name, 1)?.seconds);
        let repeat = (TIMING_SECONDS / slower).ceil().max(1.0) as usize;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.turns {
            self.rest();
            ours.push(measure(repeat, &mut work));
            self.rest();
            theirs.push(self.peer.measure(&row.name, repeat)?);
        }
        drop(work);
        self.peer.release(&row.name)?;
        let result = summary(&row.name, &ours, &theirs);
        println!("{}", line(&result));
        if let Some(file) = &mut self.json {
            writeln!(file, "{result}")?;
        }
        Ok(())
    }
}

fn summary(name: &str, ours: &[Measurement], theirs: &[Measurement]) -> Value {
    let seconds = |side: &[Measurement]| sorted(side.iter().map(|m| m.seconds));
    let peak = |side: &[Measurement]| side.iter().filter_map(|m| m.peak_bytes).max();
    let ratios = sorted(ours.iter().zip(theirs).map(|(a, b)| a.seconds / b.seconds));
    json!({
        "name": name,
        "ours_s": median(&seconds(ours)),
        "peer_s": median(&seconds(theirs)),
        "ratio": median(&ratios),
        "ratio_least": ratios[0],
        "ratio_most": ratios[ratios.len() - 1],
        "ours_peak_bytes": peak(ours),
        "peer_peak_bytes": peak(theirs),
    })
}

fn line(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let time = |key: &str| format!("{:.3} ms", number(key) * 1e3);
    let ratio = format!(
        "{:.2} ({:.2}–{:.2})",
        number("ratio"),
        number("ratio_least"),
        number("ratio_most")
    );
    format!(
        "{:44} {:>11} {:>11} {:>18} {:>9.2} {:>9.2}",
        row["name"].as_str().unwrap_or("?"),
        time("ours_s"),
        time("peer_s"),
        ratio,
        number("ours_peak_bytes") / 1e9,
        number("peer_peak_bytes") / 1e9
    )
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}
