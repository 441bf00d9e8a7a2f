//! Learning one concept after another: the order of the paper, from manifest to bank.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use seqlora_kernels::TrainBackend;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::base::{OnBase, earlier};
use super::checkpoint::{self, CheckpointRecord};
use super::state::{TrainState, initial_rows};
use super::step::{Bilevel, StepReport};
use crate::adapter::directions::{Columns, from_columns};
use crate::adapter::{CapacityPlan, Factors, plan_ranks};
use crate::bank::{Bank, ConceptRecord, NamedTensors, finish_adapter};
use crate::config::{Method, NoiseReuse, TrainConfig};
use crate::data::{ConceptSource, ImageSource, Manifest};
use crate::diffusion::{DenoisingLoss, DenoisingSample};
use crate::encode::EncodedConcept;
use crate::error::{Error, Result};
use crate::model::DiffusionModel;
use crate::rng::Seed;
use crate::text::next_placeholder;

/// What is about to be trained.
#[derive(Debug, Clone)]
pub struct LearnPlan {
    /// The concepts that are not in the bank yet, in order.
    pub concepts: Vec<ConceptPlan>,
    /// Concepts of the manifest that a resumed run finds in the bank.
    pub done: Vec<String>,
}

/// What is about to be trained for one concept.
#[derive(Debug, Clone)]
pub struct ConceptPlan {
    /// Where it comes from.
    pub source: ConceptSource,
    /// Its settings: the run's, with the manifest's own number of steps.
    pub config: TrainConfig,
    /// Its rank at each site.
    pub capacity: CapacityPlan,
    /// The step from which a checkpoint goes on.
    pub resume_at: usize,
    /// A digest of images, masks and captions.
    pub data_digest: String,
}

/// What happens during training, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A concept begins (or goes on at its `resume_at`).
    Start(&'a ConceptPlan),
    /// A minibatch is done.
    Step(&'a StepReport),
    /// The token rows have reached their norm limit and stay as they are.
    RowsFrozen {
        /// Their mean norm.
        norm: f64,
        /// The limit.
        limit: f64,
    },
    /// The state is on disk.
    Saved(usize),
    /// A concept is in the bank.
    Learnt(&'a ConceptRecord),
}

/// Whether training goes on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Save the state and stop.
    Stop,
}

/// Checks a run before anything expensive happens: ids, capacity, checkpoints.
///
/// # Errors
/// If the bank belongs to another method, a concept is in the bank already, a run is unfinished and `resume` is not set, settings have
/// changed since, or capacity is missing under `strict_capacity`.
pub fn plan(
    bank: &Bank,
    manifest: &Manifest,
    config: &TrainConfig,
    resume: bool,
) -> Result<LearnPlan> {
    config.validate()?;
    bank.check_method(config.method)?;
    let orthogonal = config.method.ingredients().orthogonal;
    let mut used: Vec<usize> =
        reserved(config.method, bank.occupied()?).iter().map(Columns::len).collect();
    // How many come is of no concern to a concept that shares nothing with the others.
    let announced = config.concepts.filter(|_| orthogonal);
    let mut plan = LearnPlan { concepts: Vec::new(), done: Vec::new() };
    for source in &manifest.concepts {
        let config = TrainConfig { steps: source.steps.unwrap_or(config.steps), ..config.clone() };
        check_prompts(source)?;
        let data_digest = digest(source)?;
        if let Some(known) = bank.like(&source.id) {
            if !resume || known != source.id {
                let hint = ", or add --resume if it is from the same, interrupted run";
                return Err(Error::DuplicateConcept { id: known.into(), hint });
            }
            let before = bank.concept(&source.id)?;
            let before = (&before.config, before.data_digest.as_str());
            checkpoint::check_unchanged(&source.id, before, (&config, &data_digest))?;
            plan.done.push(source.id.clone());
            continue;
        }
        let capacity = plan_ranks(bank.sites(), config.sites, &used, config.rank, announced);
        check_capacity(bank, &config, &capacity, source)?;
        let resume_at = match CheckpointRecord::find(bank, &source.id)? {
            None => 0,
            Some(record) if resume => {
                record.check(&source.id, &config, &data_digest, bank.concepts())?;
                record.step
            }
            Some(record) => {
                return Err(Error::Interrupted {
                    bank: bank.path().into(),
                    id: source.id.clone(),
                    step: record.step,
                    checkpoint: bank.checkpoint_folder(&source.id),
                });
            }
        };
        if orthogonal {
            used.iter_mut().zip(&capacity.ranks).for_each(|(used, rank)| *used += rank);
        }
        plan.concepts.push(ConceptPlan {
            source: source.clone(),
            config,
            capacity,
            resume_at,
            data_digest,
        });
    }
    Ok(plan)
}

/// The directions that a new concept has to leave to those that occupy them.
fn reserved(method: Method, occupied: Vec<Columns>) -> Vec<Columns> {
    match method.ingredients().orthogonal {
        true => occupied,
        false => vec![Columns::new(); occupied.len()],
    }
}

fn check_capacity(
    bank: &Bank,
    config: &TrainConfig,
    capacity: &CapacityPlan,
    source: &ConceptSource,
) -> Result<()> {
    let selected = bank.sites().iter().filter(|site| config.sites.contains(site)).count();
    let short: Vec<usize> = capacity.full.iter().chain(&capacity.shrunk).copied().collect();
    let nothing_left = capacity.full.len() == selected;
    match short.first() {
        Some(first) if config.strict_capacity || nothing_left => Err(Error::NoCapacity {
            id: source.id.clone(),
            rank: config.rank,
            sites: short.len(),
            selected,
            first: bank.sites()[*first].name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Captions and templates may name no concept but their own.
fn check_prompts(source: &ConceptSource) -> Result<()> {
    let caption = |image: &ImageSource| Some((file_name(&image.path), image.caption.clone()?));
    let template = |template: &String| ("the manifest".to_string(), template.clone());
    let captions = source.images.iter().filter_map(caption);
    for (origin, text) in captions.chain(source.templates.iter().map(template)) {
        let mut rest = text.as_str();
        while let Some((_, id, after)) = next_placeholder(rest) {
            if id != source.id && id != "TOK" {
                return Err(Error::Prompt(format!(
                    "{origin}: `{text}` names <{id}>, but shows the concept `{}`; write {{}} or \
                     <{}> for it, and other words without < >",
                    source.id, source.id
                )));
            }
            rest = after;
        }
    }
    Ok(())
}

/// A digest of everything that a concept is learnt from.
fn digest(source: &ConceptSource) -> Result<String> {
    let mut hash = Sha256::new();
    let text = format!("{}|{:?}|{}", source.class_word, source.templates, source.repeats);
    hash.update(text.as_bytes());
    for image in &source.images {
        for path in [Some(&image.path), image.mask.as_ref()].into_iter().flatten() {
            let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
            hash.update(Sha256::digest(bytes));
        }
        hash.update(image.caption.as_deref().unwrap_or_default().as_bytes());
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Trains the planned concepts one after the other and adds each to the bank.
///
/// Returns `false` if an event's receiver stopped the run; its state is then on disk.
///
/// # Errors
/// If a loss is not finite, an image cannot be used, or the disk is full.
pub fn learn<B, M>(
    model: &M,
    bank: &mut Bank,
    plan: &LearnPlan,
    mut events: impl FnMut(Event) -> Flow,
) -> Result<bool>
where
    B: TrainBackend,
    M: DiffusionModel<B>,
{
    for concept in &plan.concepts {
        if events(Event::Start(concept)) == Flow::Stop {
            return Ok(false);
        }
        match learn_concept::<B, M>(model, bank, concept, &mut events)? {
            Some(record) if events(Event::Learnt(&record)) == Flow::Continue => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn learn_concept<B, M>(
    model: &M,
    bank: &mut Bank,
    plan: &ConceptPlan,
    events: &mut impl FnMut(Event) -> Flow,
) -> Result<Option<ConceptRecord>>
where
    B: TrainBackend,
    M: DiffusionModel<B>,
{
    let ConceptPlan { source, config, .. } = plan;
    let (id, sites) = (source.id.as_str(), bank.sites().to_vec());
    let seed = Seed::new(config.seed).fork(id);
    let encoded = EncodedConcept::<B, M>::new(model, source, config, &seed)?;
    let occupied = bank.occupied()?;
    let basis = basis::<B::InnerBackend>(&occupied, &model.device());
    let reserved = reserved(config.method, occupied);
    let objective = OnBase {
        objective: DenoisingLoss { model, schedule: model.noise_schedule() },
        earlier: earlier::<B>(config.base, bank, &model.device())?,
    };
    let bilevel = Bilevel::<B, _> { objective: &objective, config, sites: &sites, basis: &basis };
    let probe_loss = |state: &TrainState<B::InnerBackend>| -> Result<f64> {
        let probes = encoded.probes()?;
        let losses = probes.iter().map(|probe| bilevel.loss(&state.parameters, probe));
        Ok(losses.sum::<f64>() / probes.len() as f64)
    };

    let mut state = match CheckpointRecord::find(bank, id)? {
        Some(record) => checkpoint::load(bank, id, &sites, &record, &model.device())?,
        None => {
            let class_word = model.word_embedding(&source.class_word)?.inner();
            let layers = model.cross_attention_layers();
            let rows = initial_rows(config.tokens, layers, class_word, config.token_std, &seed);
            let ranks = &plan.capacity.ranks;
            let mut state = TrainState::new(config, &sites, ranks, &reserved, rows, &seed);
            state.initial_loss = probe_loss(&state)?;
            state
        }
    };
    let mut metrics = Metrics::open(bank, id)?;
    while state.step < config.steps {
        let samples = encoded.samples(state.step)?;
        let rows_were_frozen = state.rows_frozen;
        let report = bilevel.step(&mut state, |k, t| evaluation(config, &samples, k, t));
        if !(report.loss.is_finite() && report.hypergradient.is_finite()) {
            let (id, step, loss) = (id.to_string(), report.step, report.loss);
            return Err(Error::NotFinite { id, step, loss });
        }
        metrics.append(&report)?;
        if state.rows_frozen && !rows_were_frozen {
            let limit = config.token_norm_limit;
            events(Event::RowsFrozen { norm: report.row_norm, limit });
        }
        let flow = events(Event::Step(&report));
        let due = state.step.is_multiple_of(config.save_every) && state.step < config.steps;
        if due || flow == Flow::Stop {
            let context = (config, plan.data_digest.as_str(), metrics.sync()?);
            checkpoint::save(bank, id, &sites, &state, context)?;
            events(Event::Saved(state.step));
        }
        if flow == Flow::Stop {
            return Ok(None);
        }
    }
    metrics.sync()?;

    let final_loss = probe_loss(&state)?;
    let adapter = finish_adapter(&state.parameters.adapters, &reserved);
    let record = ConceptRecord {
        id: id.into(),
        class_word: source.class_word.clone(),
        images: source.images.iter().map(|image| file_name(&image.path)).collect(),
        data_digest: plan.data_digest.clone(),
        words: config.tokens.words(),
        rows_per_word: config.tokens.rows_per_word(model.cross_attention_layers()),
        ranks: adapter.ranks(),
        steps: state.step,
        initial_loss: state.initial_loss,
        final_loss,
        config: config.clone(),
        trained_by: format!("burn-seqlora {}", env!("CARGO_PKG_VERSION")),
    };
    let rows = state.parameters.rows.expect("a concept has token rows");
    let rows = (rows.dims(), rows.to_data().iter::<f32>().collect());
    bank.append(&record, &adapter, NamedTensors::from([("rows".to_string(), rows)]))?;
    Ok(Some(record))
}

/// The sample of inner step t (or, at t = T, of the outer gradient) in outer iteration k.
fn evaluation<'s, B: Backend>(
    config: &TrainConfig,
    samples: &'s [DenoisingSample<B>],
    k: usize,
    t: usize,
) -> &'s DenoisingSample<B> {
    match config.noise {
        NoiseReuse::Minibatch => &samples[0],
        NoiseReuse::Evaluation => &samples[k * (config.inner + 1) + t],
    }
}

/// Q at each site on a device.
fn basis<B: Backend>(occupied: &[Columns], device: &B::Device) -> Factors<B> {
    let matrix = |columns: &Columns| {
        let (rows, count) = (columns.first()?.len(), columns.len());
        let data = TensorData::new(from_columns(columns), [rows, count]);
        Some(Tensor::from_data(data, device))
    };
    Factors::new(occupied.iter().map(matrix).collect())
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `metrics.jsonl`: one line per step, without times, so that equal runs write equal files.
struct Metrics {
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
    row_norm: f64,
}

impl Metrics {
    /// Goes on where the checkpoint left off: lines of steps that will be repeated are cut.
    fn open(bank: &Bank, id: &str) -> Result<Self> {
        let folder = bank.concept_folder(id);
        fs::create_dir_all(&folder).map_err(Error::io("cannot create", &folder))?;
        let path = folder.join("metrics.jsonl");
        let bytes = CheckpointRecord::find(bank, id)?.map_or(0, |record| record.metrics_bytes);
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.set_len(bytes)?;
            Ok(file)
        };
        let file = open().map_err(Error::io("cannot write", &path))?;
        Ok(Self { path, file, bytes })
    }

    fn append(&mut self, report: &StepReport) -> Result<()> {
        let line = MetricsLine {
            step: report.step,
            loss: report.loss,
            hypergradient_norm: report.hypergradient,
            overlap: report.overlap,
            row_norm: report.row_norm,
        };
        let line = serde_json::to_string(&line).expect("numbers are JSON") + "\n";
        self.bytes += line.len() as u64;
        self.file.write_all(line.as_bytes()).map_err(Error::io("cannot write", &self.path))
    }

    fn sync(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(Error::io("cannot write", &self.path))?;
        Ok(self.bytes)
    }
}
