//! The numbers of a run: what `summary.json` holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Bounds, Estimate, MetricInfo, Stages};

/// The numbers of a run in which methods learnt the same concepts in the same order. Scores are found
/// by the name of their metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The layout of this file.
    pub version: u32,
    /// The program that wrote it, with its version.
    pub made_by: String,
    /// The base model: name and fingerprint.
    pub base: String,
    /// Where it was computed.
    pub device: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Minibatches per concept.
    pub steps: usize,
    /// How images were sampled.
    pub sampling: String,
    /// Sampled images per concept, method and stage.
    pub images: usize,
    /// Seconds of training and sampling, all methods together.
    pub seconds: f64,
    /// What was measured; the first metric is the one that charts show.
    pub metrics: Vec<MetricInfo>,
    /// The concepts in the order in which they were learnt.
    pub concepts: Vec<ConceptSummary>,
    /// What became of them, in the order in which the methods ran.
    pub methods: Vec<MethodSummary>,
}

/// A concept, whatever the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptSummary {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is.
    pub class_word: String,
    /// The number of reference images.
    pub references: usize,
    /// What its scores are compared with.
    pub scores: BTreeMap<String, Bounds>,
}

/// What a method made of the concepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSummary {
    /// Its name in settings and banks.
    pub name: String,
    /// Its name in reports.
    pub title: String,
    /// Means over concepts.
    pub scores: BTreeMap<String, MethodScores>,
    /// The largest mutual coherence: |entry| of B_jᵀ B_i with unit columns, of all pairs and layers.
    pub max_overlap: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Images of two concepts at once, where they were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairScores>,
    /// Concept by concept.
    pub concepts: Vec<LearntConcept>,
    /// The mutual coherence of every pair.
    pub overlaps: Vec<Vec<f64>>,
}

/// One metric's means over concepts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodScores {
    /// Right after a concept was learnt, with the concepts up to it.
    pub learnt: Estimate,
    /// The same prompts and noise with all concepts.
    pub end: Estimate,
    /// How much worse the second is than the first; without the last concept, for which they are the
    /// same.
    pub forgetting: Estimate,
}

/// The share of images of two concepts in which both are found, each once: means over pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairScores {
    /// Where only the prompt says what is where.
    pub prompt: f64,
    /// With a box for each concept.
    pub boxes: f64,
}

/// What a method made of one concept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearntConcept {
    /// Its id.
    pub id: String,
    /// Its mean scores.
    pub scores: BTreeMap<String, Stages<f64>>,
    /// Loss on the probes before training.
    pub initial_loss: f64,
    /// Loss on the same probes after training.
    pub final_loss: f64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Summary {
    /// The layout that this version writes.
    pub const VERSION: u32 = 2;
}

impl MethodSummary {
    /// Means of the concepts' numbers.
    ///
    /// # Panics
    /// If there are fewer than two concepts, of which nothing can be forgotten, or a score is missing.
    pub fn of(
        [name, title]: [&str; 2],
        metrics: &[MetricInfo],
        concepts: Vec<LearntConcept>,
        overlaps: Vec<Vec<f64>>,
    ) -> Self {
        // In this order a NaN is the greatest: no damaged pair vanishes.
        let max_overlap = overlaps.iter().flatten().map(|x| x.abs()).max_by(f64::total_cmp);
        let scores = |metric| MethodScores::of(metric, &[&concepts]);
        Self {
            name: name.into(),
            title: title.into(),
            scores: metrics.iter().map(|metric| (metric.name.clone(), scores(metric))).collect(),
            max_overlap: max_overlap.unwrap_or(0.0),
            seconds: concepts.iter().map(|concept| concept.seconds).sum(),
            pairs: None,
            concepts,
            overlaps,
        }
    }
}

impl MethodScores {
    /// A metric's means over the concepts of all runs.
    ///
    /// # Panics
    /// If no run has two concepts, or a score is missing.
    pub fn of(metric: &MetricInfo, runs: &[&[LearntConcept]]) -> Self {
        let scores = |concepts: &[LearntConcept]| -> Vec<Stages<f64>> {
            concepts.iter().map(|concept| concept.scores[&metric.name]).collect()
        };
        let all: Vec<Stages<f64>> = runs.iter().flat_map(|run| scores(run)).collect();
        let earlier = runs.iter().flat_map(|run| scores(&run[..run.len().saturating_sub(1)]));
        let estimate = |values: Vec<f64>| Estimate::of(&values);
        let worsening = |Stages { learnt, end }| metric.better.worsening(learnt, end);
        Self {
            learnt: estimate(all.iter().map(|score| score.learnt).collect()),
            end: estimate(all.iter().map(|score| score.end).collect()),
            forgetting: estimate(earlier.map(worsening).collect()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Direction;

    /// A metric of which higher is better, and one of which lower is.
    pub fn metrics() -> Vec<MetricInfo> {
        let metric = |name: &str, better| MetricInfo {
            name: name.into(),
            unit: "points".into(),
            better,
            description: format!("{name}, by hand"),
            preprocessing: "none".into(),
        };
        vec![metric("likeness", Direction::Higher), metric("distance", Direction::Lower)]
    }

    fn learnt(id: &str, learnt: f64, end: f64) -> LearntConcept {
        let likeness = Stages { learnt, end };
        let distance = Stages { learnt: 2.0 * learnt, end: 2.0 * end };
        LearntConcept {
            id: id.into(),
            scores: [("likeness".into(), likeness), ("distance".into(), distance)].into(),
            initial_loss: 0.5,
            final_loss: 0.25,
            seconds: 2.0,
        }
    }

    /// Three concepts with three methods, whose order is not the alphabet's.
    pub fn summary() -> Summary {
        let bounds = Bounds { base: 0.1, described: Some(0.85), references: Some(0.95) };
        let concept = |id: &str| ConceptSummary {
            id: id.into(),
            class_word: "ball".into(),
            references: 2,
            scores: metrics().into_iter().map(|metric| (metric.name, bounds)).collect(),
        };
        let concepts = vec![learnt("a", 0.9, 0.7), learnt("b", 0.8, 0.7), learnt("c", 0.7, 0.7)];
        let overlaps = vec![vec![0.0, 0.5, 0.25], vec![0.5, 0.0, 0.125], vec![0.25, 0.125, 0.0]];
        let method = |names| MethodSummary {
            pairs: Some(PairScores { prompt: 0.25, boxes: 0.75 }),
            ..MethodSummary::of(names, &metrics(), concepts.clone(), overlaps.clone())
        };
        Summary {
            version: Summary::VERSION,
            made_by: "test".into(),
            base: "base".into(),
            device: "cpu".into(),
            seed: 0,
            steps: 3,
            sampling: "by hand".into(),
            images: 1,
            seconds: 75.0,
            metrics: metrics(),
            concepts: ["a", "b", "c"].map(concept).to_vec(),
            methods: [["z", "The Z"], ["y", "The Y"], ["x", "The X"]].map(method).into(),
        }
    }

    #[test]
    fn means_leave_the_last_concept_out_of_forgetting() {
        let method = summary().methods.swap_remove(0);
        let MethodScores { learnt, end, forgetting } = method.scores["likeness"];
        assert!((learnt.mean - 0.8).abs() < 1e-12);
        assert!((forgetting.mean - 0.15).abs() < 1e-12);
        assert_eq!((forgetting.count, end.count), (2, 3));
        assert_eq!((method.max_overlap, method.seconds), (0.5, 6.0));
    }

    #[test]
    fn a_lower_score_is_no_loss_where_lower_is_better() {
        let forgetting = summary().methods[0].scores["distance"].forgetting;
        assert!((forgetting.mean + 0.3).abs() < 1e-12);
    }

    #[test]
    fn means_over_several_runs_leave_out_the_last_concept_of_each() {
        let (first, second) =
            ([learnt("a", 0.9, 0.7), learnt("b", 0.8, 0.7)], [learnt("a", 0.5, 0.5)]);
        let scores = MethodScores::of(&metrics()[0], &[&first, &second]);
        assert_eq!((scores.learnt.count, scores.forgetting.count), (3, 1));
        assert!((scores.forgetting.mean - 0.2).abs() < 1e-12);
    }

    #[test]
    fn it_survives_being_written_down() {
        let text = serde_json::to_string(&summary()).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary());
        assert!(text.contains(r#""better":"lower""#), "{text}");
        // Methods stay in the order in which they ran.
        let at = |name: &str| text.find(&format!("\"title\":\"The {name}\"")).unwrap();
        assert!(at("Z") < at("Y") && at("Y") < at("X"));
    }
}
