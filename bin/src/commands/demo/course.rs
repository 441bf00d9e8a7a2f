//! A method learns all lessons one after another, and is asked for each right after it and at the end.

use std::path::Path;
use std::time::Instant;

use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::data::ConceptData;
use burn_seqlora::eval::report::Stages;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods::{self, Method};
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{Event, learn, plan};
use image::RgbImage;

use super::interrupted;
use super::lessons::{Lesson, pair_prompts, pairs, prompts};
use super::progress::Progress;
use super::settings::{Journal, Settings};
use super::studio::Studio;
use crate::failure::Failure;

/// What all methods go through.
pub struct Course<'a, B: TrainBackend> {
    /// The base model.
    pub model: &'a StableDiffusion<B>,
    /// Which one it is.
    pub base: &'a BaseModel,
    /// What is learnt.
    pub lessons: &'a [Lesson],
    /// How.
    pub settings: &'a Settings,
    /// What paints.
    pub studio: Studio<'a, B>,
    /// Where banks and pictures go.
    pub folder: &'a Path,
    /// How far it is.
    pub progress: Progress<'a>,
    /// How long it took.
    pub journal: Journal,
}

/// What a method made of the lessons.
pub struct Outcome {
    /// The bank with the adapters.
    pub bank: Bank,
    /// Pictures of each concept.
    pub concepts: Vec<Stages>,
    /// Pictures of each pair.
    pub pairs: Vec<Vec<RgbImage>>,
}

/// All work of a demo, in the units of [`Progress`].
pub fn cost<B: TrainBackend>(settings: &Settings, lessons: &[Lesson]) -> f64 {
    let of_pairs: usize = pairs(lessons).map(|pair| pair_prompts(pair).len()).sum();
    let methods = settings.methods.len();
    let pictures = lessons.len() * settings.pictures * (2 * methods + 1) + methods * of_pairs;
    let steps = (lessons.len() * settings.train.steps) as f64;
    let of_method = |method: &String| {
        let method = methods::by_name::<B>(method).expect("settings are checked");
        steps * settings.step_cost(method)
    };
    let training: f64 = settings.methods.iter().map(of_method).sum();
    training + Studio::<B>::cost(pictures)
}

impl<B: TrainBackend> Course<'_, B> {
    /// What the base model draws for each lesson's class.
    pub fn before(&mut self) -> Result<Vec<Vec<RgbImage>>, Failure> {
        let (lessons, sites) = (self.lessons, self.model.sites().len());
        let of_lesson = |lesson: &Lesson| {
            let prompts = prompts(&lesson.source.class_word, self.settings.pictures);
            let name = format!("base/{}", lesson.source.id);
            self.pictures(&name, &prompts, || Ok(Composition::none(sites)))
        };
        lessons.iter().map(of_lesson).collect()
    }

    /// Takes a method through all lessons, from wherever an earlier run left off.
    pub fn take(&mut self, name: &str) -> Result<Outcome, Failure> {
        let method = methods::by_name::<B>(name)?;
        let (lessons, config) = (self.lessons, self.settings.train_config(name));
        let mut bank =
            Bank::open_or_create(&self.folder.join(method.name()), self.base, self.model.sites())?;
        // Whether there is room for all of them shows before the first one.
        let planned = plan(&bank, method, data(lessons), self.model.sites(), &config, true)?;
        let short = planned.concepts.iter().filter(|c| !c.capacity.full.is_empty()).count();
        if short > 0 {
            let text = format!("{name} finds layers full for {short} concepts and skips them");
            self.progress.line("capacity", text);
        }
        let mut concepts = vec![Stages::default(); lessons.len()];
        for number in 0..lessons.len() {
            self.learn(&mut bank, method, number, &config)?;
            concepts[number].learnt = self.ask(&bank, number, &lessons[..=number], "learnt")?;
        }
        for (number, stages) in concepts.iter_mut().enumerate() {
            stages.end = self.ask(&bank, number, lessons, "end")?;
        }
        let pair = |(number, pair)| {
            let name = format!("{}/pairs/{number}", method.name());
            let (model, bank) = (self.model, &bank);
            self.pictures(&name, &pair_prompts(pair), || compose(model, bank, lessons))
        };
        let pairs = pairs(lessons).enumerate().map(pair).collect::<Result<_, _>>()?;
        Ok(Outcome { bank, concepts, pairs })
    }

    fn learn(
        &mut self,
        bank: &mut Bank,
        method: &dyn Method<B>,
        number: usize,
        config: &TrainConfig,
    ) -> Result<(), Failure> {
        let lesson = &self.lessons[number];
        let cost = self.settings.step_cost(method);
        let data = data(std::slice::from_ref(lesson));
        let plan = plan(bank, method, data, self.model.sites(), config, true)?;
        if plan.concepts.is_empty() {
            self.progress.skip(cost * config.steps as f64);
            return Ok(());
        }
        let started = Instant::now();
        let show = |event: Event| self.progress.show(method.name(), cost, event);
        let finished = learn::<B, _>(self.model, bank, method, &plan, show)?;
        let seconds = started.elapsed().as_secs_f64();
        self.journal.add_training(method.name(), &lesson.source.id, seconds)?;
        finished.then_some(()).ok_or_else(interrupted)
    }

    /// Pictures of a lesson with the adapters of `members`.
    fn ask(
        &mut self,
        bank: &Bank,
        number: usize,
        members: &[Lesson],
        stage: &str,
    ) -> Result<Vec<RgbImage>, Failure> {
        let (model, lesson) = (self.model, &self.lessons[number]);
        let method = bank.method().expect("it holds the lesson");
        let name = format!("{method}/{}/{stage}", lesson.source.id);
        let prompts = prompts(&lesson.name(), self.settings.pictures);
        self.pictures(&name, &prompts, || compose(model, bank, members))
    }

    fn pictures(
        &mut self,
        name: &str,
        prompts: &[String],
        composition: impl FnOnce() -> Result<Composition<B>, Failure>,
    ) -> Result<Vec<RgbImage>, Failure> {
        let folder = self.folder.join("pictures").join(name);
        if let Some(pictures) = Studio::<B>::stored(&folder, prompts.len())? {
            self.progress.skip(Studio::<B>::cost(prompts.len()));
            return Ok(pictures);
        }
        let started = Instant::now();
        self.progress.message(format!("painting {name}"));
        let composition = composition()?;
        let pictures = self.studio.paint(&folder, prompts, &composition, &mut self.progress)?;
        self.journal.add_sampling(started.elapsed().as_secs_f64())?;
        Ok(pictures)
    }
}

fn data(lessons: &[Lesson]) -> impl Iterator<Item = &dyn ConceptData> {
    lessons.iter().map(|lesson| &lesson.source as &dyn ConceptData)
}

fn compose<B: TrainBackend>(
    model: &StableDiffusion<B>,
    bank: &Bank,
    members: &[Lesson],
) -> Result<Composition<B>, Failure> {
    let member = |lesson: &Lesson| Member::new(&lesson.source.id);
    let members: Vec<Member> = members.iter().map(member).collect();
    Ok(Composition::load(bank, &members, model.sites(), &DiffusionModel::device(model))?)
}
