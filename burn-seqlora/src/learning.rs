//! Learning concepts from a path on disk into a bank on disk.

use std::path::Path;

use seqlora_core::bank::Bank;
use seqlora_core::methods::{self, Method};
use seqlora_core::model::DiffusionModel;
use seqlora_core::settings::TrainConfig;
use seqlora_core::train::{self, Event, Examining, PlanOptions};
use seqlora_core::{Flow, Result};
use seqlora_data::{ConceptData, DiscoverOptions, Manifest};
use seqlora_kernels::TrainBackend;
use seqlora_models::memory::training_estimate;

use crate::Model;

/// Learns the concepts under `data` one after another and adds them to `bank`, which is created if it
/// does not exist; returns their ids. The crate's documentation has an [example](crate).
///
/// `data` is a folder of images, which is one concept named after it, a folder of such folders, or
/// any other layout that [`Manifest::discover`] knows. [`Learning`] has more options.
///
/// # Errors
/// If the data, a setting or the bank cannot be used, a concept is in the bank already, or a loss is
/// not finite.
pub fn learn<B: TrainBackend>(
    data: impl AsRef<Path>,
    bank: impl AsRef<Path>,
    model: &Model<B>,
    config: &TrainConfig,
) -> Result<Vec<String>> {
    let learnt = Learning::new(model, config).run(data, bank, |_| Flow::Continue)?;
    Ok(learnt.concepts)
}

/// A training run: what is learnt, how, and with which options.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(all(feature = "cpu", feature = "toy-world"))] {
/// use burn_seqlora::prelude::*;
/// use burn_seqlora::train::Event;
///
/// let model = Model::<Autodiff<Flex>>::load("builtin")?;
/// let learning = Learning::new(&model, &TrainConfig::default()).resume(true);
/// let learnt = learning.run("photos", "bank", |event| {
///     if let Event::Step(report) = event {
///         println!("step {}: loss {:.4}", report.step, report.loss);
///     }
///     Flow::Continue
/// })?;
/// assert!(learnt.finished);
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Learning<'a, B: TrainBackend> {
    model: &'a Model<B>,
    config: TrainConfig,
    method: Option<&'a dyn Method<B>>,
    data: DiscoverOptions,
    resume: bool,
    memory: Option<u64>,
}

/// What a training run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The ids of the concepts that it added to the bank, in the order in which they were learnt.
    pub concepts: Vec<String>,
    /// False if an event's receiver stopped the run. Its state is then on disk, and a run with
    /// [`resume`](Learning::resume) continues from there.
    pub finished: bool,
}

impl<'a, B: TrainBackend> Learning<'a, B> {
    /// Trains with these settings, by the method that they name.
    pub fn new(model: &'a Model<B>, config: &TrainConfig) -> Self {
        let (config, data) = (config.clone(), DiscoverOptions::default());
        Self { model, config, method: None, data, resume: false, memory: None }
    }

    /// Trains by a custom method instead; its name replaces the one in the settings.
    pub fn method(mut self, method: &'a dyn Method<B>) -> Self {
        self.config.method = method.name().into();
        self.method = Some(method);
        self
    }

    /// Sets what the data do not tell, such as the class word of a single folder of images.
    pub fn data_options(self, data: DiscoverOptions) -> Self {
        Self { data, ..self }
    }

    /// Whether to continue an interrupted run. Its settings and data must be unchanged; concepts that are
    /// already in the bank are skipped.
    pub fn resume(self, resume: bool) -> Self {
        Self { resume, ..self }
    }

    /// Refuses to start if training takes more than so many bytes besides the model, by an estimate. Without
    /// it every run is started.
    pub fn memory_limit(self, bytes: u64) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// Learns the concepts under `data` and adds them to `bank`.
    ///
    /// `events` receives every step, and ends the run by returning [`Flow::Stop`].
    ///
    /// # Errors
    /// Those of [`learn`], or if a run is unfinished and is not resumed, or takes too much memory.
    pub fn run(
        &self,
        data: impl AsRef<Path>,
        bank: impl AsRef<Path>,
        events: impl FnMut(Event) -> Flow,
    ) -> Result<Learnt> {
        let Model { model, base, .. } = self.model;
        let manifest = Manifest::discover(data.as_ref(), &self.data)?;
        let method = match self.method {
            Some(method) => method,
            None => methods::by_name::<B>(&self.config.method)?,
        };
        let mut bank = Bank::open_or_create(bank.as_ref(), base, model.sites())?;
        let before = bank.concepts().len();
        let data = manifest.concepts.iter().map(|concept| concept as &dyn ConceptData);
        let (sites, config) = (model.sites(), &self.config);
        let read_on = |_: Examining| Flow::Continue;
        let options = PlanOptions { resume: self.resume, ..PlanOptions::default() };
        let plan = train::plan(&bank, method, data, sites, config, options, read_on)?;
        if let Some(limit) = self.memory {
            for concept in &plan.concepts {
                let side = train::resolution(&concept.config, model)?;
                let work = method.work(&concept.config);
                training_estimate(model, concept, work, side).check(limit)?;
            }
        }
        let finished = train::learn::<B, _>(model, &mut bank, method, &plan, events)?;
        let concepts = bank.concepts()[before..].iter().map(String::from).collect();
        Ok(Learnt { concepts, finished })
    }
}
