//! Learning concepts from a path on disk into a bank on disk.

use std::path::Path;

use seqlora_core::bank::Bank;
use seqlora_core::methods::{self, Method};
use seqlora_core::model::DiffusionModel;
use seqlora_core::settings::TrainConfig;
use seqlora_core::train::{self, Event};
use seqlora_core::{Flow, Result};
use seqlora_data::{ConceptData, DiscoverOptions, Manifest};
use seqlora_kernels::TrainBackend;

use crate::Model;

/// Learns the concepts under `data` one after another and adds them to `bank`, which is made if it is
/// not there; returns their ids. The crate's own documentation has an example.
///
/// `data` is a folder of images, which is one concept named after it, a folder of such folders, or
/// any other layout that [`Manifest::discover`] knows. [`Learning`] has more choices.
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

/// A run of training that is about to begin.
#[derive(Debug, Clone)]
pub struct Learning<'a, B: TrainBackend> {
    model: &'a Model<B>,
    config: TrainConfig,
    method: Option<&'a dyn Method<B>>,
    data: DiscoverOptions,
    resume: bool,
}

/// What a run of training did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The ids of the concepts that it added to the bank, in order.
    pub concepts: Vec<String>,
    /// Whether it went through to the end; else its state is on disk, and
    /// [`resume`](Learning::resume) goes on from there.
    pub finished: bool,
}

impl<'a, B: TrainBackend> Learning<'a, B> {
    /// By the method whose name is in the settings.
    pub fn new(model: &'a Model<B>, config: &TrainConfig) -> Self {
        let (config, data) = (config.clone(), DiscoverOptions::default());
        Self { model, config, method: None, data, resume: false }
    }

    /// By a method of one's own; its name takes the place of that in the settings.
    pub fn method(mut self, method: &'a dyn Method<B>) -> Self {
        self.config.method = method.name().into();
        self.method = Some(method);
        self
    }

    /// With an id and a class word for the only concept of the data, and the like.
    pub fn data_options(self, data: DiscoverOptions) -> Self {
        Self { data, ..self }
    }

    /// Going on with an interrupted run, whose settings and data must be the same; concepts that it
    /// has finished are left as they are.
    pub fn resume(self, resume: bool) -> Self {
        Self { resume, ..self }
    }

    /// Learns the concepts under `data` and adds them to `bank`.
    ///
    /// `events` is told of every step, and stops the run by [`Flow::Stop`].
    ///
    /// # Errors
    /// Those of [`learn`], or if a run is unfinished and is not resumed.
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
        let plan = train::plan(&bank, method, data, model.sites(), &self.config, self.resume)?;
        let finished = train::learn::<B, _>(model, &mut bank, method, &plan, events)?;
        Ok(Learnt { concepts: bank.concepts()[before..].to_vec(), finished })
    }
}
