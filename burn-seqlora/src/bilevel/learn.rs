//! Learning one concept after another: the order of the paper, from manifest to bank.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use seqlora_kernels::TrainBackend;

use super::base::{OnBase, earlier};
use super::checkpoint::{self, CheckpointRecord};
use super::metrics::Metrics;
use super::plan::{ConceptPlan, LearnPlan, file_name, reserved};
use super::state::{TrainState, initial_rows};
use super::step::{Bilevel, StepReport};
use crate::adapter::Factors;
use crate::adapter::directions::{Columns, from_columns};
use crate::bank::{Bank, ConceptRecord, NamedTensors, finish_adapter};
use crate::config::{NoiseReuse, TrainConfig};
use crate::diffusion::{DenoisingLoss, DenoisingSample};
use crate::encode::EncodedConcept;
use crate::error::{Error, Result};
use crate::model::DiffusionModel;
use crate::rng::Seed;

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
    for (number, concept) in plan.concepts.iter().enumerate() {
        if events(Event::Start(concept)) == Flow::Stop {
            return Ok(false);
        }
        let learnt = learn_concept::<B, M>(model, bank, concept, &mut events)?;
        let Some(record) = learnt else { return Ok(false) };
        let more = number + 1 < plan.concepts.len();
        if events(Event::Learnt(&record)) == Flow::Stop && more {
            return Ok(false);
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
        let loss = losses.sum::<f64>() / probes.len() as f64;
        let not_finite = || Error::NotFinite { id: id.into(), step: state.step, loss };
        loss.is_finite().then_some(loss).ok_or_else(not_finite)
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
