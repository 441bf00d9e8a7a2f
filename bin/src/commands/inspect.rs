//! `seqlora inspect`

use std::borrow::Cow;
use std::path::Path;

use burn_seqlora::bank::formats::{self, Source};
use burn_seqlora::bank::{Bank, BaseModel, ConceptRecord, ConceptState, Problem, TrainingRecord};
use burn_seqlora::error::Error;
use burn_seqlora::files::{FileError, Header};
use burn_seqlora::lora::Site;
use burn_seqlora::settings::TrainConfig;
use safetensors::tensor::TensorInfo;
use serde::Serialize;
use serde_json::{Value, json};

use super::inspect_adapter;
use crate::args::Inspect;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Shows a bank, an adapter in any format, or a file of tensors.
pub fn run(args: &Inspect, terminal: &Terminal) -> Result<(), Failure> {
    let source = open(&args.path)?;
    let other = |kind| Error::OtherAdapter { path: args.path.clone(), kind };
    let unread = formats::unread_kind(&source).map(other);
    match (formats::detect(&source), source) {
        (Some(format), source) => match unread {
            None => inspect_adapter::run(format, source, terminal),
            Some(error) => Err(error.into()),
        },
        (None, Source::Folder(folder)) => bank(&folder, terminal),
        (None, Source::File(header)) => {
            // Its tensors can be listed all the same.
            if let Some(error) = unread {
                terminal.warning(error);
            }
            file(&header, terminal)
        }
    }
}

fn open(path: &Path) -> Result<Source, Failure> {
    let usage = |reason: String| Failure::Usage(format!("{}: {reason}", path.display()));
    Source::open(path).map_err(|error| match error {
        Error::File(FileError::Io { source, .. }) => usage(source.to_string()),
        other => usage(format!("it is neither a bank nor a file of tensors ({other})")),
    })
}

/// Shows a bank, and fails if something in it is damaged.
fn bank(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(path).map_err(without_hint)?;
    let (concepts, max_overlap) = bank.inspect()?;
    let summary = BankSummary::new(path, &bank, &concepts, max_overlap);
    terminal.result(&json!(summary), || summary.text())?;
    let damaged: Vec<&str> = summary.damaged().map(|concept| concept.id).collect();
    match damaged.len() {
        0 => Ok(()),
        count => Err(Failure::Damaged(format!(
            "{count} of {} concepts in {} cannot be trusted: {}; the others can be used",
            concepts.len(),
            path.display(),
            damaged.join(", ")
        ))),
    }
}

/// That there is no bank, without the hint at an option that this command does not have.
fn without_hint(error: Error) -> Failure {
    match error {
        Error::NoBank { .. } => Failure::Failed(error.to_string().into()),
        other => other.into(),
    }
}

/// What is in a bank.
#[derive(Serialize)]
struct BankSummary<'a> {
    path: Cow<'a, str>,
    base: &'a BaseModel,
    method: Option<&'a str>,
    concepts: Vec<ConceptLine<'a>>,
    max_overlap: f64,
    capacity: Vec<SiteLine<'a>>,
}

/// What is in a concept; `problems` says why something is missing.
#[derive(Serialize)]
struct ConceptLine<'a> {
    id: &'a str,
    #[serde(flatten)]
    record: Option<RecordLine<'a>>,
    #[serde(flatten)]
    training: Option<TrainingLine<'a>>,
    problems: Vec<&'a str>,
}

#[derive(Serialize)]
struct RecordLine<'a> {
    class_word: &'a str,
    ranks: Vec<usize>,
    /// The greatest.
    rank: usize,
    /// Those that are adapted.
    sites: usize,
    words: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
}

#[derive(Serialize)]
struct TrainingLine<'a> {
    method: &'a str,
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
    fn new(path: &'a Path, bank: &'a Bank, states: &'a [ConceptState], max_overlap: f64) -> Self {
        // Of those that are damaged the cache may know the ranks; otherwise nobody does.
        let last = states.iter().rev().find_map(|s| s.record.as_ref().zip(s.training.as_ref()));
        let group = last.and_then(|(record, _)| record.group.as_deref());
        let used = bank.reserved(bank.sites(), group);
        let used = used.unwrap_or_else(|_| by_records(bank, states));
        let capacity = bank.sites().iter().zip(used).map(|(site, used)| {
            // As a next concept with the last one's settings finds it.
            let protected = last.map_or(0, |last| protected(site, last));
            let left = site.inputs.saturating_sub(used + protected);
            SiteLine { site: &site.name, inputs: site.inputs, used, left }
        });
        Self {
            path: path.to_string_lossy(),
            base: bank.base(),
            method: bank.method(),
            concepts: states.iter().map(|state| ConceptLine::new(state, bank.sites())).collect(),
            max_overlap,
            capacity: capacity.collect(),
        }
    }

    fn damaged(&self) -> impl Iterator<Item = &ConceptLine<'a>> {
        self.concepts.iter().filter(|concept| !concept.problems.is_empty())
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
        let problems = |concept: &ConceptLine| {
            let line = |problem: &&str| format!("\n{}: {problem}", concept.id);
            concept.problems.iter().map(line).collect::<String>()
        };
        let problems: String = self.damaged().map(problems).collect();
        let problems = if problems.is_empty() { problems } else { format!("\n{problems}") };
        let (base, overlap) = (self.base, self.max_overlap);
        format!(
            "base  {base}\n\n{}\n\nlargest overlap  {overlap:.1e}{left}{problems}",
            table(&rows)
        )
    }
}

/// The directions that the readable records reserve at each site.
fn by_records(bank: &Bank, states: &[ConceptState]) -> Vec<usize> {
    let mut used = vec![0; bank.sites().len()];
    let records = states.iter().filter_map(|state| state.record.as_ref());
    for record in records.filter(|record| record.reserves_directions) {
        let ranks = record.ranks(bank.sites());
        used.iter_mut().zip(ranks).for_each(|(used, rank)| *used += rank);
    }
    used
}

/// The directions that a concept's settings protect at a site, as far as this program can read them.
fn protected(site: &Site, (record, training): (&ConceptRecord, &TrainingRecord)) -> usize {
    let settings = serde_json::from_value::<TrainConfig>(training.settings.clone());
    match settings {
        Ok(settings) if record.reserves_directions => settings.protected_at(site),
        _ => 0,
    }
}

impl<'a> ConceptLine<'a> {
    fn new(state: &'a ConceptState, sites: &[Site]) -> Self {
        let ConceptState { id, record, training, problems } = state;
        let record = record.as_ref().map(|record| {
            let ranks = record.ranks(sites);
            RecordLine {
                class_word: &record.class_word,
                rank: ranks.iter().copied().max().unwrap_or(0),
                sites: record.sites.len(),
                ranks,
                words: record.words,
                group: record.group.as_deref(),
            }
        });
        let training = training.as_ref().map(|training| TrainingLine {
            method: &training.method,
            images: &training.images,
            steps: training.steps,
            initial_loss: training.initial_loss,
            final_loss: training.final_loss,
        });
        let problems = problems.iter().map(|problem: &Problem| problem.text.as_str()).collect();
        Self { id, record, training, problems }
    }

    fn cells(&self) -> [String; 7] {
        let unknown = || "?".to_string();
        let record =
            |cell: fn(&RecordLine) -> String| self.record.as_ref().map_or_else(unknown, cell);
        let training =
            |cell: fn(&TrainingLine) -> String| self.training.as_ref().map_or_else(unknown, cell);
        [
            self.id.into(),
            record(|r| r.class_word.into()),
            training(|t| t.method.into()),
            record(|r| r.rank.to_string()),
            record(|r| r.sites.to_string()),
            training(|t| t.steps.to_string()),
            training(|t| match t.final_loss.is_nan() {
                true => "unknown".into(),
                false => format!("{:.4} → {:.4}", t.initial_loss, t.final_loss),
            }),
        ]
    }
}

fn file(header: &Header, terminal: &Terminal) -> Result<(), Failure> {
    let names = header.tensors();
    let list: Vec<Value> = names
        .iter()
        .map(|(name, info)| json!({ "name": name, "dtype": format!("{:?}", info.dtype), "shape": info.shape }))
        .collect();
    let result = json!({ "path": header.path().to_string_lossy(), "tensors": list });
    terminal.result(&result, || {
        let head = ["tensor", "type", "shape"].map(String::from).to_vec();
        let row = |(name, info): (&String, &TensorInfo)| {
            vec![name.clone(), format!("{:?}", info.dtype), format!("{:?}", info.shape)]
        };
        table(&[vec![head], names.iter().map(row).collect()].concat())
    })
}
