//! From images and banks to the numbers of the report.

use burn_seqlora::bank::{BaseModel, overlaps};
use burn_seqlora::eval::report::{ConceptSummary, LearntConcept, MethodSummary, Summary};
use burn_seqlora::eval::{Evaluator, Metric, References};

use super::concepts::{ToyConcept, prompts};
use super::experiment::{BaseImages, Outcome};
use super::settings::Settings;
use super::timing_log::TimingLog;
use crate::device::Device;
use crate::failure::Failure;

/// How a demo was run.
pub struct RunMetadata<'a> {
    pub base: &'a BaseModel,
    pub device: Device,
    pub settings: &'a Settings,
    pub sampling: String,
    pub timing: &'a TimingLog,
}

/// Scores the images of a demo.
pub struct Evaluation<'a> {
    evaluator: Evaluator<'a>,
    concepts: &'a [ToyConcept],
    metadata: &'a RunMetadata<'a>,
}

impl<'a> Evaluation<'a> {
    /// An evaluation of these concepts by these metrics.
    pub fn new(
        metrics: &'a [Box<dyn Metric>],
        concepts: &'a [ToyConcept],
        metadata: &'a RunMetadata<'a>,
    ) -> Self {
        let references = |concept: &'a ToyConcept| References {
            images: &concept.references,
            captions: &concept.captions,
        };
        let evaluator = Evaluator::new(metrics, concepts.iter().map(references).collect());
        Self { evaluator, concepts, metadata }
    }

    /// All numbers of a demo, from the base model's images and what each method made.
    ///
    /// # Errors
    /// If a metric fails, or a bank cannot be read.
    pub fn summary(
        &self,
        base_images: &BaseImages,
        outcomes: &[Outcome],
    ) -> Result<Summary, Failure> {
        let RunMetadata { base, device, settings, sampling, timing } = self.metadata;
        let concepts = (0..self.concepts.len()).map(|number| self.concept(number, base_images));
        let methods = outcomes.iter().map(|outcome| self.method(outcome));
        Ok(Summary {
            version: Summary::VERSION,
            made_by: format!("seqlora {}", env!("CARGO_PKG_VERSION")),
            base: base.to_string(),
            device: device.to_string(),
            seed: settings.train.seed,
            steps: settings.train.steps,
            sampling: sampling.clone(),
            images: settings.images,
            seconds: timing.seconds(),
            metrics: self.evaluator.metrics(),
            concepts: concepts.collect::<Result<_, Failure>>()?,
            methods: methods.collect::<Result<_, Failure>>()?,
        })
    }

    fn concept(&self, number: usize, base_images: &BaseImages) -> Result<ConceptSummary, Failure> {
        let ToyConcept { source, references, in_words, .. } = &self.concepts[number];
        let (class, described) = (&base_images.class[number], &base_images.described[number]);
        let prompts = |name: &str| prompts(name, self.metadata.settings.images);
        let mut scores = self.evaluator.bounds(number, class, &prompts(&source.class_word))?;
        for (metric, score) in self.evaluator.scores(number, described, &prompts(in_words))? {
            scores.entry(metric).and_modify(|bounds| bounds.described = Some(score));
        }
        Ok(ConceptSummary {
            id: source.id.clone(),
            class_word: source.class_word.clone(),
            references: references.len(),
            scores,
        })
    }

    fn method(&self, outcome: &Outcome) -> Result<MethodSummary, Failure> {
        let learnt = |(number, concept): (usize, &ToyConcept)| {
            let (id, stages) = (&concept.source.id, &outcome.concepts[number]);
            let prompts = prompts(&concept.name(), self.metadata.settings.images);
            let (_, record) = outcome.bank.concept(id)?;
            Ok(LearntConcept {
                id: id.clone(),
                scores: self.evaluator.stages(number, stages, &prompts)?,
                initial_loss: record.initial_loss,
                final_loss: record.final_loss,
                seconds: self.metadata.timing.training(outcome.name, id),
            })
        };
        let learnt = self.concepts.iter().enumerate().map(learnt);
        let learnt = learnt.collect::<Result<Vec<_>, Failure>>()?;
        let (names, metrics) = ([outcome.name, outcome.title], self.evaluator.metrics());
        Ok(MethodSummary::of(names, &metrics, learnt, overlaps(&outcome.bank)?))
    }
}
