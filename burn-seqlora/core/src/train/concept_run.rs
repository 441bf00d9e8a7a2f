//! A concept while it is learnt: from its images, or a checkpoint, to its place in the bank.

use burn::tensor::backend::Backend;
use seqlora_kernels::TrainBackend;

use super::base::{OnBase, earlier};
use super::checkpoint;
use super::checkpoint_record::CheckpointRecord;
use super::common_prompts::with_protected;
use super::encode::{EncodedConcept, Minibatch};
use super::event::Event;
use super::feasible::feasible;
use super::further;
use super::metrics::Metrics;
use super::plan::ConceptPlan;
use super::trainer::Trainer;
use crate::bank::{Bank, TrainingRecord};
use crate::compose::HostConcept;
use crate::diffusion::{DenoisingLoss, TrainingLoss};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::lora::{Bases, Feasible, Site};
use crate::methods::{Method, TrainState, initial_embeddings};
use crate::micro_batches::MicroBatches;
use crate::model::DiffusionModel;
use crate::read;
use crate::rng::Seed;
use crate::settings::{NoiseReuse, TrainConfig};

/// A concept while it is learnt.
pub(super) struct ConceptRun<'a, B: TrainBackend, M> {
    model: &'a M,
    method: &'a dyn Method<B>,
    plan: &'a ConceptPlan<'a>,
    seed: Seed,
    sites: Vec<Site>,
    encoded: EncodedConcept<'a, B, M>,
    objective: OnBase<B, MicroBatches<TrainingLoss<'a, M>>>,
    /// What B is kept to or, by a method without a constraint, compared with.
    basis: Bases<B::InnerBackend>,
    /// Where B may lie.
    feasible: Vec<Feasible>,
}

impl<'a, B: TrainBackend, M: DiffusionModel<B>> ConceptRun<'a, B, M> {
    /// Opens images and latents, and reads what B keeps away from.
    pub fn new(
        model: &'a M,
        bank: &Bank,
        method: &'a dyn Method<B>,
        plan: &'a ConceptPlan<'a>,
    ) -> Result<Self> {
        let ConceptPlan { data, config, data_digest, .. } = plan;
        let seed = Seed::new(config.seed).fork(data.id());
        let sites = model.sites().to_vec();
        let group = config.orthogonal_within.as_deref();
        let occupied = bank.directions_besides(&plan.id, &sites, group)?;
        let orthogonal = method.constraint().is_orthogonal();
        let feasible = match orthogonal {
            true => feasible(&sites, config, with_protected(model, &sites, config, occupied)?),
            false => Feasible::outside(&occupied),
        };
        let device = model.device();
        let folder = bank.folder().check(bank.checkpoint_inside(&plan.id))?;
        let base = &bank.base().fingerprint;
        let denoising = DenoisingLoss {
            model,
            schedule: model.noise_schedule(),
            min_snr_gamma: config.min_snr_gamma,
        };
        let earlier = earlier::<B>(config.base, bank, &plan.id, &sites, &device)?;
        // What never moves is rounded once.
        let earlier = earlier.cast(config.precision.dtype());
        let encoded = EncodedConcept::new(model, *data, config, &seed)?;
        let encoded = encoded.with_cache(&folder, data_digest, base)?;
        let (attention, prior_weight) = (config.attention(), config.prior_weight);
        Ok(Self {
            model,
            method,
            plan,
            encoded: encoded.on(earlier.clone()),
            objective: OnBase {
                objective: MicroBatches {
                    objective: TrainingLoss { denoising, attention, prior_weight },
                    memory: config.memory,
                },
                earlier,
            },
            basis: Bases::of(&feasible, &device),
            feasible: if orthogonal { feasible } else { vec![Feasible::default(); sites.len()] },
            seed,
            sites,
        })
    }

    fn trainer(&self) -> Trainer<'_, B, OnBase<B, MicroBatches<TrainingLoss<'a, M>>>> {
        let Self { objective, method, sites, basis, .. } = self;
        Trainer { objective, method: *method, settings: &self.plan.config, sites, basis }
    }

    /// The state of the checkpoint, if there is one, or that before the first step of this training.
    pub fn begin(&self, bank: &Bank) -> Result<TrainState<B::InnerBackend>> {
        let ConceptPlan { id, config, capacity, .. } = self.plan;
        if let Some(record) = CheckpointRecord::find(bank, id)? {
            let layers = self.model.cross_attention_layers();
            let rows = config.tokens.words() * config.tokens.embeddings_per_word(layers);
            let run = (&self.sites[..], &capacity.ranks[..], [rows, self.model.token_width()]);
            return checkpoint::load(bank, id, run, &record, &self.model.device());
        }
        let mut state = match config.continued_from {
            Some(_) => further::state(bank, self.plan, &self.sites, &self.model.device())?,
            None => self.new_state()?,
        };
        state.initial_loss = self.probe_loss(&state)?;
        Ok(state)
    }

    /// The state of a new concept.
    fn new_state(&self) -> Result<TrainState<B::InnerBackend>> {
        let ConceptPlan { data, config, capacity, .. } = self.plan;
        let layers = self.model.cross_attention_layers();
        let class_word = self.model.word_embedding(data.class_word())?.inner();
        let (tokens, std) = (config.tokens, config.token_std);
        let embeddings = initial_embeddings(tokens, layers, class_word, std, &self.seed);
        let (ranks, feasible) = (&capacity.ranks, &self.feasible);
        Ok(TrainState::new(
            self.method,
            config,
            &self.sites,
            ranks,
            feasible,
            embeddings,
            &self.seed,
        ))
    }

    /// All steps that are left, or those until an event's receiver stops them.
    pub fn train(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        bank: &Bank,
        snapshot_every: Option<usize>,
        events: &mut impl FnMut(Event) -> Flow,
    ) -> Result<Flow> {
        let ConceptPlan { id, config, data_digest, .. } = self.plan;
        let trainer = self.trainer();
        let mut metrics = Metrics::open(bank, id)?;
        while state.step < config.steps {
            let samples = self.encoded.samples(state.step)?;
            let were_frozen = state.embeddings_frozen;
            let report = trainer.step(state, |k, t| evaluation(config, &samples, k, t));
            for (what, value) in [("loss", report.loss), ("hypergradient", report.hypergradient)] {
                self.check_finite(report.step, what, value)?;
            }
            metrics.append(&report)?;
            if state.embeddings_frozen && !were_frozen {
                let (norm, limit) = (report.embedding_norm, config.token_norm_limit);
                events(Event::EmbeddingsFrozen { norm, limit });
            }
            let mut flow = events(Event::Step(&report));
            let is_last = state.step == config.steps;
            let shown = |every: usize| is_last || state.step.is_multiple_of(every.max(1));
            if flow == Flow::Continue && snapshot_every.is_some_and(shown) {
                flow = self.snapshot(state, events);
            }
            let due = state.step.is_multiple_of(config.save_every) && state.step < config.steps;
            if due || flow == Flow::Stop {
                let context = (config, data_digest.as_str(), metrics.sync()?);
                checkpoint::save(bank, id, &self.sites, state, context)?;
                events(Event::Saved(state.step));
            }
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        metrics.sync().map(|_| Flow::Continue)
    }

    /// Shows the concept as it is.
    pub fn snapshot(
        &self,
        state: &TrainState<B::InnerBackend>,
        events: &mut impl FnMut(Event) -> Flow,
    ) -> Flow {
        let concept = self.concept(state);
        events(Event::Snapshot { plan: self.plan, step: state.step, concept: &concept })
    }

    /// The concept as it is.
    fn concept(&self, state: &TrainState<B::InnerBackend>) -> HostConcept {
        let ConceptPlan { data, config, .. } = self.plan;
        let adapters = &state.parameters.adapters;
        let layers = self.model.cross_attention_layers();
        let embeddings =
            state.parameters.embeddings.clone().expect("a concept has token embeddings");
        HostConcept {
            id: data.id().into(),
            words: [config.tokens.words(), config.tokens.embeddings_per_word(layers)],
            adapter: self.method.finish(adapters, &self.sites, &self.feasible),
            embeddings: (embeddings.dims(), read::data(embeddings).iter::<f32>().collect()),
        }
    }

    /// Adds the concept to the bank, or puts it in the place of what it was.
    pub fn finish(
        &self,
        state: TrainState<B::InnerBackend>,
        bank: &mut Bank,
    ) -> Result<TrainingRecord> {
        let concept = self.concept(&state);
        let record = self.plan.record(&concept, self.method.constraint());
        let HostConcept { adapter, embeddings, .. } = concept;
        let losses = [state.initial_loss, self.probe_loss(&state)?];
        let training = self.plan.training(self.method.name(), state.step, losses);
        checkpoint::check_bank(bank)?;
        match self.plan.config.continued_from {
            Some(_) => bank.replace(record, &training, &adapter, embeddings)?,
            None => bank.append(record, &training, &adapter, embeddings)?,
        }
        Ok(training)
    }

    /// The mean loss of minibatches that stay the same.
    fn probe_loss(&self, state: &TrainState<B::InnerBackend>) -> Result<f64> {
        let (trainer, probes) = (self.trainer(), self.plan.config.probes);
        let loss = |probe| Ok(trainer.loss(&state.parameters, &self.encoded.probe(probe)?));
        let loss = (0..probes).map(loss).sum::<Result<f64>>()? / probes as f64;
        self.check_finite(state.step, "loss", loss).map(|()| loss)
    }

    fn check_finite(&self, step: usize, what: &'static str, value: f64) -> Result<()> {
        match value.is_finite() {
            true => Ok(()),
            false => Err(Error::NotFinite { id: self.plan.data.id().into(), step, what, value }),
        }
    }
}

/// The sample of inner step t (or, at t = T, of the outer gradient) in outer iteration k.
fn evaluation<'s, B: Backend>(
    config: &TrainConfig,
    samples: &'s [Minibatch<B>],
    k: usize,
    t: usize,
) -> &'s Minibatch<B> {
    match config.noise {
        NoiseReuse::Minibatch => &samples[0],
        NoiseReuse::Evaluation => &samples[k * (config.inner + 1) + t],
    }
}
