//! Learning one concept after another: the order of the paper, from manifest to bank.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use seqlora_kernels::TrainBackend;

use super::base::{OnBase, earlier};
use super::checkpoint::{self, CheckpointRecord};
use super::metrics::Metrics;
use super::plan::{ConceptPlan, LearnPlan, file_name, reserved};
use super::shared::with_shared;
use super::state::{TrainState, initial_rows};
use super::step::{Bilevel, StepReport};
use crate::adapter::directions::{Columns, from_columns};
use crate::adapter::{Factors, Site};
use crate::bank::{Bank, ConceptRecord, NamedTensors, finish_adapter};
use crate::config::{NoiseReuse, TrainConfig};
use crate::diffusion::{DenoisingLoss, DenoisingSample};
use crate::encode::EncodedConcept;
use crate::error::{Error, Result};
use crate::model::DiffusionModel;
use crate::prompts;
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
/// If a loss is not finite, an image or a prompt cannot be used, or the disk is full.
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
        prompts::check(model, &concept.source, &concept.config)?;
    }
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
    let lesson = Lesson::<B, M>::new(model, bank, plan)?;
    let mut state = lesson.begin(bank)?;
    match lesson.train(&mut state, bank, events)? {
        Flow::Continue => lesson.finish(state, bank).map(Some),
        Flow::Stop => Ok(None),
    }
}

/// A concept while it is learnt.
struct Lesson<'a, B: TrainBackend, M> {
    model: &'a M,
    plan: &'a ConceptPlan,
    seed: Seed,
    sites: Vec<Site>,
    encoded: EncodedConcept<'a, B, M>,
    objective: OnBase<B, DenoisingLoss<'a, M>>,
    /// Q, which B is compared with.
    basis: Factors<B::InnerBackend>,
    /// The directions that B keeps away from.
    reserved: Vec<Columns>,
}

impl<'a, B: TrainBackend, M: DiffusionModel<B>> Lesson<'a, B, M> {
    /// Encodes images and prompts.
    fn new(model: &'a M, bank: &Bank, plan: &'a ConceptPlan) -> Result<Self> {
        let ConceptPlan { source, config, .. } = plan;
        let seed = Seed::new(config.seed).fork(&source.id);
        let avoided = with_shared(model, bank.sites(), config, bank.occupied()?)?;
        Ok(Self {
            model,
            plan,
            sites: bank.sites().to_vec(),
            encoded: EncodedConcept::new(model, source, config, &seed)?,
            objective: OnBase {
                objective: DenoisingLoss { model, schedule: model.noise_schedule() },
                earlier: earlier::<B>(config.base, bank, &model.device())?,
            },
            basis: basis(&avoided, &model.device()),
            reserved: reserved(config.method, avoided),
            seed,
        })
    }

    fn bilevel(&self) -> Bilevel<'_, B, OnBase<B, DenoisingLoss<'a, M>>> {
        let Self { objective, sites, basis, .. } = self;
        Bilevel { objective, config: &self.plan.config, sites, basis }
    }

    /// The state of the checkpoint, if there is one, or that before the first step.
    fn begin(&self, bank: &Bank) -> Result<TrainState<B::InnerBackend>> {
        let ConceptPlan { source, config, capacity, .. } = self.plan;
        if let Some(record) = CheckpointRecord::find(bank, &source.id)? {
            return checkpoint::load(bank, &source.id, &self.sites, &record, &self.model.device());
        }
        let class_word = self.model.word_embedding(&source.class_word)?.inner();
        let layers = self.model.cross_attention_layers();
        let rows = initial_rows(config.tokens, layers, class_word, config.token_std, &self.seed);
        let (ranks, reserved) = (&capacity.ranks, &self.reserved);
        let mut state = TrainState::new(config, &self.sites, ranks, reserved, rows, &self.seed);
        state.initial_loss = self.probe_loss(&state)?;
        Ok(state)
    }

    /// All steps that are left, or those until an event's receiver stops them.
    fn train(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        bank: &Bank,
        events: &mut impl FnMut(Event) -> Flow,
    ) -> Result<Flow> {
        let ConceptPlan { source, config, data_digest, .. } = self.plan;
        let bilevel = self.bilevel();
        let mut metrics = Metrics::open(bank, &source.id)?;
        while state.step < config.steps {
            let samples = self.encoded.samples(state.step)?;
            let rows_were_frozen = state.rows_frozen;
            let report = bilevel.step(state, |k, t| evaluation(config, &samples, k, t));
            for (what, value) in [("loss", report.loss), ("hypergradient", report.hypergradient)] {
                self.check_finite(report.step, what, value)?;
            }
            metrics.append(&report)?;
            if state.rows_frozen && !rows_were_frozen {
                let limit = config.token_norm_limit;
                events(Event::RowsFrozen { norm: report.row_norm, limit });
            }
            let flow = events(Event::Step(&report));
            let due = state.step.is_multiple_of(config.save_every) && state.step < config.steps;
            if due || flow == Flow::Stop {
                let context = (config, data_digest.as_str(), metrics.sync()?);
                checkpoint::save(bank, &source.id, &self.sites, state, context)?;
                events(Event::Saved(state.step));
            }
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        metrics.sync().map(|_| Flow::Continue)
    }

    /// Adds the concept to the bank.
    fn finish(&self, state: TrainState<B::InnerBackend>, bank: &mut Bank) -> Result<ConceptRecord> {
        let ConceptPlan { source, config, data_digest, .. } = self.plan;
        let adapter = finish_adapter(&state.parameters.adapters, &self.reserved);
        let record = ConceptRecord {
            id: source.id.clone(),
            class_word: source.class_word.clone(),
            images: source.images.iter().map(|image| file_name(&image.path)).collect(),
            data_digest: data_digest.clone(),
            words: config.tokens.words(),
            rows_per_word: config.tokens.rows_per_word(self.model.cross_attention_layers()),
            ranks: adapter.ranks(),
            steps: state.step,
            initial_loss: state.initial_loss,
            final_loss: self.probe_loss(&state)?,
            config: config.clone(),
            trained_by: format!("burn-seqlora {}", env!("CARGO_PKG_VERSION")),
        };
        let rows = state.parameters.rows.expect("a concept has token rows");
        let rows = (rows.dims(), rows.to_data().iter::<f32>().collect());
        bank.append(&record, &adapter, NamedTensors::from([("rows".to_string(), rows)]))?;
        Ok(record)
    }

    /// The mean loss of minibatches that stay the same.
    fn probe_loss(&self, state: &TrainState<B::InnerBackend>) -> Result<f64> {
        let (bilevel, probes) = (self.bilevel(), self.encoded.probes()?);
        let losses = probes.iter().map(|probe| bilevel.loss(&state.parameters, probe));
        let loss = losses.sum::<f64>() / probes.len() as f64;
        self.check_finite(state.step, "loss", loss).map(|()| loss)
    }

    fn check_finite(&self, step: usize, what: &'static str, value: f64) -> Result<()> {
        match value.is_finite() {
            true => Ok(()),
            false => Err(Error::NotFinite { id: self.plan.source.id.clone(), step, what, value }),
        }
    }
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
