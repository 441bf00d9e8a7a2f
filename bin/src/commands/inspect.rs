//! `seqlora inspect`

use std::path::Path;

use burn_seqlora::bank::{Bank, BaseModel, ConceptRecord, TrainingRecord, max_overlap};
use burn_seqlora::lora::Site;
use burn_seqlora::models::weights::ModelError;
use burn_seqlora::models::weights::ldm::Header;
use burn_seqlora::settings::TrainConfig;
use safetensors::tensor::TensorInfo;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Shows a bank or a safetensors file.
pub fn run(args: &Inspect, terminal: &Terminal) -> Result<(), Failure> {
    if args.path.is_dir() { bank(&args.path, terminal) } else { file(&args.path, terminal) }
}

fn bank(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(path)?;
    let records = bank.concepts().iter().map(|id| bank.concept(id));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let summary = BankSummary::new(path, &bank, &records)?;
    terminal.result(&json!(summary), || summary.text())
}

/// What is in a bank.
#[derive(Serialize)]
struct BankSummary<'a> {
    path: &'a Path,
    base: &'a BaseModel,
    method: Option<&'a str>,
    concepts: Vec<ConceptLine<'a>>,
    max_overlap: f64,
    capacity: Vec<SiteLine<'a>>,
}

#[derive(Serialize)]
struct ConceptLine<'a> {
    id: &'a str,
    class_word: &'a str,
    method: &'a str,
    ranks: Vec<usize>,
    /// The greatest.
    rank: usize,
    /// Those that are adapted.
    sites: usize,
    words: usize,
    images: &'a [String],
    steps: usize,
    initial_loss: f64,
    final_loss: f64,
}

/// The directions of a layer's inputs.
#[derive(Serialize)]
struct SiteLine<'a> {
    site: &'a str,
    inputs: usize,
    used: usize,
    left: usize,
}

impl<'a> BankSummary<'a> {
    fn new(
        path: &'a Path,
        bank: &'a Bank,
        records: &'a [(ConceptRecord, TrainingRecord)],
    ) -> Result<Self, Failure> {
        let reserved = bank.reserved(bank.sites())?;
        let capacity = bank.sites().iter().zip(reserved).map(|(site, used)| {
            // As a next concept with the last one's settings finds it.
            let protected = records.last().map_or(0, |record| protected(site, record));
            let left = site.inputs.saturating_sub(used + protected);
            SiteLine { site: &site.name, inputs: site.inputs, used, left }
        });
        Ok(Self {
            path,
            base: bank.base(),
            method: bank.method(),
            concepts: records.iter().map(|record| ConceptLine::new(record, bank.sites())).collect(),
            max_overlap: max_overlap(bank)?,
            capacity: capacity.collect(),
        })
    }

    fn text(&self) -> String {
        let head = ["concept", "class", "method", "rank", "sites", "steps", "loss"];
        let rows = self.concepts.iter().map(ConceptLine::cells);
        let rows: Vec<_> =
            [head.map(String::from)].into_iter().chain(rows).map(Vec::from).collect();
        let left = self.capacity.iter().filter(|line| line.used > 0).map(|line| line.left).min();
        let left = left.map_or(String::new(), |left| {
            format!("\ndirections left in the narrowest layer  {left}")
        });
        let (base, overlap) = (self.base, self.max_overlap);
        format!("base  {base}\n\n{}\n\nlargest overlap  {overlap:.1e}{left}", table(&rows))
    }
}

/// The directions that a concept's settings protect at a site, as far as this program can read them.
fn protected(site: &Site, (record, training): &(ConceptRecord, TrainingRecord)) -> usize {
    let settings = serde_json::from_value::<TrainConfig>(training.settings.clone());
    match settings {
        Ok(settings) if record.reserves_directions => settings.protected_at(site),
        _ => 0,
    }
}

impl<'a> ConceptLine<'a> {
    fn new((record, training): &'a (ConceptRecord, TrainingRecord), sites: &[Site]) -> Self {
        let ranks = record.ranks(sites);
        Self {
            id: &record.id,
            class_word: &record.class_word,
            method: &training.method,
            rank: ranks.iter().copied().max().unwrap_or(0),
            sites: record.sites.len(),
            ranks,
            words: record.words,
            images: &training.images,
            steps: training.steps,
            initial_loss: training.initial_loss,
            final_loss: training.final_loss,
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.id.into(),
            self.class_word.into(),
            self.method.to_string(),
            self.rank.to_string(),
            self.sites.to_string(),
            self.steps.to_string(),
            format!("{:.4} → {:.4}", self.initial_loss, self.final_loss),
        ]
    }
}

fn file(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let usage = |reason: String| Failure::Usage(format!("{}: {reason}", path.display()));
    let header = Header::read(path).map_err(|error| match error {
        ModelError::Io { source, .. } => usage(source.to_string()),
        other => usage(format!("it is neither a bank nor a safetensors file ({other})")),
    })?;
    let names = header.tensors();
    let list: Vec<Value> = names
        .iter()
        .map(|(name, info)| json!({ "name": name, "dtype": format!("{:?}", info.dtype), "shape": info.shape }))
        .collect();
    terminal.result(&json!({ "path": path, "tensors": list }), || {
        let head = ["tensor", "type", "shape"].map(String::from).to_vec();
        let row = |(name, info): (&String, &TensorInfo)| {
            vec![name.clone(), format!("{:?}", info.dtype), format!("{:?}", info.shape)]
        };
        table(&[vec![head], names.iter().map(row).collect()].concat())
    })
}
