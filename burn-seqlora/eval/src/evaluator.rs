//! Scores of whole concepts: every metric, averaged over images.

use std::collections::{BTreeMap, BTreeSet};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{Context, Metric, MetricError, MetricInfo, evaluate};

/// The references of one concept.
#[derive(Debug, Clone, Copy, Default)]
pub struct References<'a> {
    /// What the concept was learnt from.
    pub images: &'a [RgbImage],
    /// The prompt that describes each of them. Without it, metrics that need prompts have no score for
    /// the references themselves.
    pub captions: &'a [String],
}

/// The same thing at two times: images of the same prompts and noise, or a score of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stages<T> {
    /// Right after the concept was learnt, with the concepts up to it.
    pub learnt: T,
    /// With all concepts.
    pub end: T,
}

/// What scores of a concept are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The score of the base model's images of the class: what comes without learning.
    pub base: f64,
    /// The score of the base model's images of a prompt that describes the concept in words, where there is
    /// one: what learning can be expected to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<f64>,
    /// The score of the references themselves, each against the others: what can be expected at most.
    pub references: Option<f64>,
}

/// Scores images of the concepts of one run by a list of metrics. Scores are found by the metric's name.
#[derive(Debug)]
pub struct Evaluator<'a> {
    metrics: &'a [Box<dyn Metric>],
    concepts: Vec<References<'a>>,
}

impl<'a> Evaluator<'a> {
    /// Metrics of a run with these concepts. The first metric is the one that charts show.
    ///
    /// # Panics
    /// If there is no metric, or two have the same name.
    pub fn new(metrics: &'a [Box<dyn Metric>], concepts: Vec<References<'a>>) -> Self {
        let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name()).collect();
        assert!(!metrics.is_empty(), "an evaluation needs a metric");
        assert_eq!(names.len(), metrics.len(), "metrics of a run have different names");
        Self { metrics, concepts }
    }

    /// What a report says of the metrics, in their order.
    pub fn metrics(&self) -> Vec<MetricInfo> {
        self.metrics.iter().map(|metric| metric.as_ref().into()).collect()
    }

    /// The mean score of images of a concept, each with its prompt.
    ///
    /// # Errors
    /// If a metric fails.
    pub fn scores(
        &self,
        concept: usize,
        images: &[RgbImage],
        prompts: &[String],
    ) -> Result<BTreeMap<String, f64>, MetricError> {
        let (references, others) = (self.concepts[concept].images, self.others(concept));
        let context = Context { prompts, references, others: &others };
        self.by_name(|metric| Ok(mean(&evaluate(metric, images, &context)?)))
    }

    /// The mean scores of the same prompts at two times: right after a concept was learnt, and with all
    /// concepts.
    ///
    /// # Errors
    /// If a metric fails.
    pub fn stages(
        &self,
        concept: usize,
        images: &Stages<Vec<RgbImage>>,
        prompts: &[String],
    ) -> Result<BTreeMap<String, Stages<f64>>, MetricError> {
        let learnt = self.scores(concept, &images.learnt, prompts)?;
        let mut end = self.scores(concept, &images.end, prompts)?;
        let stages = |(name, learnt)| {
            let end = end.remove(&name).expect("both have every metric");
            (name, Stages { learnt, end })
        };
        Ok(learnt.into_iter().map(stages).collect())
    }

    /// What scores of a concept are compared with, from the base model's images of the class.
    ///
    /// # Errors
    /// If a metric fails.
    pub fn bounds(
        &self,
        concept: usize,
        base: &[RgbImage],
        prompts: &[String],
    ) -> Result<BTreeMap<String, Bounds>, MetricError> {
        let base = self.scores(concept, base, prompts)?;
        self.by_name(|metric| {
            let references = self.references(metric, concept)?;
            Ok(Bounds { base: base[metric.name()], described: None, references })
        })
    }

    /// The mean score of the references, each one against the others. `None` if there are fewer than
    /// two, or no captions for a metric that needs prompts.
    fn references(&self, metric: &dyn Metric, concept: usize) -> Result<Option<f64>, MetricError> {
        let (References { images, captions }, distractors) =
            (self.concepts[concept], self.others(concept));
        if images.len() < 2 || (metric.needs().prompts && captions.len() != images.len()) {
            return Ok(None);
        }
        let left_out = |number: usize| {
            let mut references = images.to_vec();
            let image = references.remove(number);
            let prompts = captions.get(number).map_or(&[][..], std::slice::from_ref);
            let context = Context { prompts, references: &references, others: &distractors };
            Ok(mean(&evaluate(metric, &[image], &context)?))
        };
        let scores = (0..images.len()).map(left_out).collect::<Result<Vec<f64>, MetricError>>()?;
        Ok(Some(mean(&scores)))
    }

    /// The references of the other concepts.
    fn others(&self, concept: usize) -> Vec<&'a [RgbImage]> {
        let numbered = self.concepts.iter().enumerate();
        numbered.filter(|(number, _)| *number != concept).map(|(_, other)| other.images).collect()
    }

    fn by_name<T>(
        &self,
        value: impl Fn(&dyn Metric) -> Result<T, MetricError>,
    ) -> Result<BTreeMap<String, T>, MetricError> {
        let named = |metric: &dyn Metric| Ok((metric.name().into(), value(metric)?));
        self.metrics.iter().map(|metric| named(metric.as_ref())).collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::embedding::tests::{first_pixel, plain};
    use crate::{Identity, Recognition};

    #[test]
    fn every_metric_scores_every_concept() {
        let (embedder, batches) = first_pixel();
        let metrics: Vec<Box<dyn Metric>> =
            vec![Box::new(Identity::new(embedder.clone())), Box::new(Recognition::new(embedder))];
        let [red, green, grey] = [[255, 0, 0], [0, 255, 0], [255, 255, 255]].map(plain);
        let (reds, greens) = (vec![red.clone(); 2], vec![green.clone()]);
        let concept = |images| References { images, captions: &[] };
        let evaluator = Evaluator::new(&metrics, vec![concept(&reds), concept(&greens)]);
        assert_eq!(evaluator.metrics()[1].name, "recognition");

        let stages = Stages { learnt: vec![red.clone(), green.clone()], end: vec![green] };
        let scores = evaluator.stages(0, &stages, &[]).unwrap();
        // (1, −1, −1) · (−1, 1, −1) / 3 = −1/3.
        assert!((scores["identity"].learnt - 1.0 / 3.0).abs() < 1e-7);
        assert!((scores["identity"].end + 1.0 / 3.0).abs() < 1e-7);
        assert_eq!(scores["recognition"], Stages { learnt: 0.5, end: 0.0 });

        let bounds = evaluator.bounds(0, &[grey], &[]).unwrap();
        assert!((bounds["identity"].references.unwrap() - 1.0).abs() < 1e-7);
        assert!((bounds["identity"].base + 1.0 / 3.0).abs() < 1e-7);
        assert_eq!(
            bounds["recognition"],
            Bounds { base: 0.0, described: None, references: Some(1.0) }
        );
        // One reference has no other to be compared with.
        assert_eq!(evaluator.bounds(1, &[red], &[]).unwrap()["identity"].references, None);
        assert_eq!(batches.get(), 3, "red, green and grey");
    }
}
