//! From pictures and banks to the numbers of the report.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn_seqlora::bank::{BaseModel, overlaps};
use burn_seqlora::eval::report::{ConceptSummary, LearntConcept, MethodSummary, Summary};
use burn_seqlora::eval::{Embeddings, Identity, embed};
use image::RgbImage;

use super::course::Outcome;
use super::judge::Judge;
use super::lessons::Lesson;
use super::settings::{Journal, Settings};
use crate::device::Device;
use crate::failure::Failure;
use crate::images::to_pixels;

/// What a judge says of pictures.
pub struct Scores<'a, B: Backend> {
    judge: &'a Judge<B>,
    device: &'a B::Device,
    lessons: &'a [Lesson],
    references: Vec<Embeddings>,
    identities: Vec<Identity>,
}

/// What the numbers do not tell by themselves.
pub struct Circumstances<'a> {
    pub base: &'a BaseModel,
    pub device: Device,
    pub settings: &'a Settings,
    pub sampling: String,
    pub journal: &'a Journal,
}

impl<'a, B: Backend> Scores<'a, B> {
    /// Looks at the references.
    pub fn new(judge: &'a Judge<B>, device: &'a B::Device, lessons: &'a [Lesson]) -> Self {
        let look = |lesson: &Lesson| look(judge, &lesson.references, device);
        let references: Vec<Embeddings> = lessons.iter().map(look).collect();
        let identities = references.iter().map(|seen| Identity::of(seen)).collect();
        Self { judge, device, lessons, references, identities }
    }

    /// All numbers of a demo.
    ///
    /// # Errors
    /// If a bank cannot be read.
    pub fn summary(
        &self,
        before: &[Vec<RgbImage>],
        outcomes: &BTreeMap<String, Outcome>,
        circumstances: &Circumstances,
    ) -> Result<Summary, Failure> {
        let Circumstances { base, device, settings, sampling, journal } = circumstances;
        let of_method = |(method, outcome): (&String, &Outcome)| {
            Ok((method.clone(), self.of_method(method, outcome, journal)?))
        };
        let methods = outcomes.iter().map(of_method).collect::<Result<_, Failure>>()?;
        let concept = |(number, lesson): (usize, &Lesson)| ConceptSummary {
            id: lesson.source.id.clone(),
            class_word: lesson.source.class_word.clone(),
            references: lesson.references.len(),
            floor: self.identities[number].score(&self.look(&before[number])),
            ceiling: Identity::ceiling(&self.references[number]),
        };
        Ok(Summary {
            version: Summary::VERSION,
            made_by: format!("seqlora {}", env!("CARGO_PKG_VERSION")),
            base: base.to_string(),
            judge: self.judge.name.into(),
            device: device.to_string(),
            seed: settings.train.seed,
            steps: settings.train.steps,
            sampling: sampling.to_string(),
            pictures: before.first().map_or(0, Vec::len),
            seconds: journal.seconds(),
            concepts: self.lessons.iter().enumerate().map(concept).collect(),
            methods,
        })
    }

    fn of_method(
        &self,
        method: &str,
        outcome: &Outcome,
        journal: &Journal,
    ) -> Result<MethodSummary, Failure> {
        let concept = |(number, lesson): (usize, &Lesson)| {
            let (id, stages) = (&lesson.source.id, &outcome.concepts[number]);
            let [learnt, end] = [&stages.learnt, &stages.end].map(|pictures| self.look(pictures));
            let score = |seen| self.identities[number].score(seen);
            let (_, record) = outcome.bank.concept(id)?;
            Ok(LearntConcept {
                id: id.clone(),
                identity_learnt: score(&learnt),
                identity_end: score(&end),
                recognised: [&learnt, &end].map(|seen| self.recognised(number, seen)),
                initial_loss: record.initial_loss,
                final_loss: record.final_loss,
                seconds: journal.training(method, id),
            })
        };
        let concepts = self.lessons.iter().enumerate().map(concept);
        let concepts = concepts.collect::<Result<Vec<_>, Failure>>()?;
        Ok(MethodSummary::of(concepts, overlaps(&outcome.bank)?))
    }

    /// The share of pictures that look more like this concept than like any other.
    fn recognised(&self, concept: usize, seen: &Embeddings) -> f64 {
        let own = |one: &&Vec<f64>| Identity::nearest(&self.identities, one) == Some(concept);
        seen.iter().filter(own).count() as f64 / seen.len().max(1) as f64
    }

    fn look(&self, pictures: &[RgbImage]) -> Embeddings {
        look(self.judge, pictures, self.device)
    }
}

fn look<B: Backend>(judge: &Judge<B>, pictures: &[RgbImage], device: &B::Device) -> Embeddings {
    embed(judge.encoder.as_ref(), to_pixels(pictures, device))
}
