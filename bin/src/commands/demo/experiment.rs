//! Each method learns all concepts one after another; images of a concept are sampled right after it was
//! learnt and at the end.

use std::path::Path;
use std::time::Instant;

use burn_seqlora::Flow;
use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::data::ConceptData;
use burn_seqlora::eval::Stages;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods::{self, Method};
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{Event, PlanOptions, learn, plan};
use image::RgbImage;

use super::concepts::{ToyConcept, prompts};
use super::pairs::{Pair, pairs};
use super::progress::Progress;
use super::sample_cache::{Request, SampleCache};
use super::settings::Settings;
use super::timing_log::TimingLog;
use crate::failure::Failure;

/// A demo goes on where it was stopped.
const RESUMED: PlanOptions = PlanOptions { resume: true, keep_going: false };

/// Trains and samples with every method on the same concepts.
pub struct ExperimentRunner<'a, B: TrainBackend> {
    /// The base model.
    pub model: &'a StableDiffusion<B>,
    /// Its name and fingerprint.
    pub base: &'a BaseModel,
    /// The concepts in the order of learning.
    pub concepts: &'a [ToyConcept],
    /// How they are learnt.
    pub settings: &'a Settings,
    /// What samples images.
    pub samples: SampleCache<'a, B>,
    /// Where banks and images go.
    pub folder: &'a Path,
    /// The progress bar.
    pub progress: Progress<'a>,
    /// The seconds of training and sampling.
    pub timing: TimingLog,
}

/// What the base model generates, concept by concept.
pub struct BaseImages {
    /// Asked for the class.
    pub class: Vec<Vec<RgbImage>>,
    /// Told every part in words.
    pub described: Vec<Vec<RgbImage>>,
}

/// What a method made of the concepts.
pub struct Outcome {
    /// The method's name in settings and banks.
    pub name: &'static str,
    /// The method's name in reports.
    pub title: &'static str,
    /// What it does, to complete the sentence "Concepts were learnt …".
    pub description: &'static str,
    /// The bank with the adapters.
    pub bank: Bank,
    /// Images of each concept.
    pub concepts: Vec<Stages<Vec<RgbImage>>>,
    /// Images of each pair.
    pub pairs: Vec<Vec<RgbImage>>,
}

/// All work of a demo, in the units of [`Progress`].
pub fn cost<B: TrainBackend>(settings: &Settings, concepts: &[ToyConcept]) -> f64 {
    let of_pairs: usize = pairs(concepts).map(|pair| pair.requests(0).len()).sum();
    let methods = settings.methods.len();
    let images = concepts.len() * settings.images * (2 * methods + 2) + methods * of_pairs;
    let steps = (concepts.len() * settings.train.steps) as f64;
    let of_method = |method: &String| {
        let method = methods::by_name::<B>(method).expect("settings are checked");
        steps * settings.step_cost(method)
    };
    let training: f64 = settings.methods.iter().map(of_method).sum();
    training + SampleCache::<B>::cost(images)
}

impl<B: TrainBackend> ExperimentRunner<'_, B> {
    /// The base model's images of each concept's class, and of the concept in words.
    pub fn base_images(&mut self) -> Result<BaseImages, Failure> {
        let (concepts, sites) = (self.concepts, self.model.sites().len());
        let mut of_all = |folder: &str, name: fn(&ToyConcept) -> &str| {
            let of_concept = |concept: &ToyConcept| {
                let prompts = prompts(name(concept), self.settings.images);
                let folder = format!("{folder}/{}", concept.source.id);
                self.images(&folder, &Request::of(&prompts), || Ok(Composition::none(sites)))
            };
            concepts.iter().map(of_concept).collect::<Result<_, Failure>>()
        };
        Ok(BaseImages {
            class: of_all("base", |concept| &concept.source.class_word)?,
            described: of_all("described", |concept| &concept.in_words)?,
        })
    }

    /// Learns all concepts with a method, from wherever an earlier run stopped.
    pub fn run(&mut self, name: &str) -> Result<Outcome, Failure> {
        let method = methods::by_name::<B>(name)?;
        let (concepts, config) = (self.concepts, self.settings.train_config(name));
        let mut bank =
            Bank::open_or_create(&self.folder.join(method.name()), self.base, self.model.sites())?;
        // Planning all concepts first shows whether there is room for them before any is trained.
        let (data, sites) = (data(concepts), self.model.sites());
        let planned = plan(&bank, method, data, sites, &config, RESUMED, |_| Flow::Continue)?;
        let short = planned.concepts.iter().filter(|c| !c.capacity.full.is_empty()).count();
        if short > 0 {
            let text = format!("{name} finds layers full for {short} concepts and skips them");
            self.progress.line("capacity", text);
        }
        let mut sampled = vec![Stages::default(); concepts.len()];
        for number in 0..concepts.len() {
            self.learn(&mut bank, method, number, &config)?;
            sampled[number].learnt = self.sample(&bank, number, &concepts[..=number], "learnt")?;
        }
        for (number, stages) in sampled.iter_mut().enumerate() {
            stages.end = self.sample(&bank, number, concepts, "end")?;
        }
        let side = self.model.resolution();
        let pair = |pair: Pair| {
            let name = format!("{}/pairs/{}", method.name(), pair.name());
            let (model, bank) = (self.model, &bank);
            self.images(&name, &pair.requests(side), || compose(model, bank, concepts))
        };
        let pairs = pairs(concepts).map(pair).collect::<Result<_, _>>()?;
        let (name, title, description) = (method.name(), method.title(), method.description());
        Ok(Outcome { name, title, description, bank, concepts: sampled, pairs })
    }

    fn learn(
        &mut self,
        bank: &mut Bank,
        method: &dyn Method<B>,
        number: usize,
        config: &TrainConfig,
    ) -> Result<(), Failure> {
        let concept = &self.concepts[number];
        let cost = self.settings.step_cost(method);
        // A later one may have been stopped in the middle, and nothing else can be planned until it has ended.
        if bank.contains(&concept.source.id) {
            self.progress.skip(cost * config.steps as f64);
            return Ok(());
        }
        let data = data(std::slice::from_ref(concept));
        let sites = self.model.sites();
        let plan = plan(bank, method, data, sites, config, RESUMED, |_| Flow::Continue)?;
        let started = Instant::now();
        let show = |event: Event| self.progress.show(method.name(), cost, event);
        let finished = learn::<B, _>(self.model, bank, method, &plan, show)?;
        let seconds = started.elapsed().as_secs_f64();
        self.timing.add_training(method.name(), &concept.source.id, seconds)?;
        finished.then_some(()).ok_or_else(Failure::stopped_demo)
    }

    /// Images of a concept with the adapters of `members`.
    fn sample(
        &mut self,
        bank: &Bank,
        number: usize,
        members: &[ToyConcept],
        stage: &str,
    ) -> Result<Vec<RgbImage>, Failure> {
        let (model, concept) = (self.model, &self.concepts[number]);
        let method = bank.method().expect("the bank holds the concept");
        let name = format!("{method}/{}/{stage}", concept.source.id);
        let prompts = prompts(&concept.name(), self.settings.images);
        self.images(&name, &Request::of(&prompts), || compose(model, bank, members))
    }

    /// Images that an earlier run sampled, or new ones.
    fn images(
        &mut self,
        name: &str,
        requests: &[Request],
        composition: impl FnOnce() -> Result<Composition<B>, Failure>,
    ) -> Result<Vec<RgbImage>, Failure> {
        let folder = self.folder.join("images").join(name);
        if let Some(images) = SampleCache::<B>::stored(&folder, requests.len())? {
            self.progress.skip(SampleCache::<B>::cost(requests.len()));
            return Ok(images);
        }
        let started = Instant::now();
        self.progress.message(format!("sampling {name}"));
        let composition = composition()?;
        let images = self.samples.sample(&folder, requests, &composition, &mut self.progress)?;
        self.timing.add_sampling(started.elapsed().as_secs_f64())?;
        Ok(images)
    }
}

fn data(concepts: &[ToyConcept]) -> impl Iterator<Item = &dyn ConceptData> {
    concepts.iter().map(|concept| &concept.source as &dyn ConceptData)
}

fn compose<B: TrainBackend>(
    model: &StableDiffusion<B>,
    bank: &Bank,
    members: &[ToyConcept],
) -> Result<Composition<B>, Failure> {
    let member = |concept: &ToyConcept| Member::new(&concept.source.id);
    let members: Vec<Member> = members.iter().map(member).collect();
    Ok(Composition::load(bank, &members, model.sites(), &DiffusionModel::device(model))?)
}
