//! The numbers of a run: what `summary.json` holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Estimate;

/// The numbers of a run in which methods learnt the same concepts in the same order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The layout of this file.
    pub version: u32,
    /// The version of this crate that wrote it.
    pub made_by: String,
    /// The base model: name and fingerprint.
    pub base: String,
    /// What measured identity.
    pub judge: String,
    /// Where it was computed.
    pub device: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Minibatches per concept.
    pub steps: usize,
    /// How pictures were sampled.
    pub sampling: String,
    /// Generated pictures per concept, method and time.
    pub pictures: usize,
    /// Seconds of training and sampling, all methods together.
    pub seconds: f64,
    /// The concepts in the order in which they were learnt.
    pub concepts: Vec<ConceptSummary>,
    /// What became of them.
    pub methods: BTreeMap<String, MethodSummary>,
}

/// A concept, whatever the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptSummary {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is.
    pub class_word: String,
    /// The number of reference pictures.
    pub references: usize,
    /// Identity of the base model's pictures of the class: what comes without learning.
    pub floor: f64,
    /// Identity of each reference against the others: what can be expected at most.
    pub ceiling: f64,
}

/// What a method made of the concepts. Means are over concepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSummary {
    /// Identity right after a concept was learnt, with the concepts so far.
    pub identity_learnt: Estimate,
    /// Identity of the same prompts and noise with all concepts.
    pub identity_end: Estimate,
    /// What is lost between the two; without the last concept, for which they are the same.
    pub forgetting: Estimate,
    /// Share of the pictures in which the judge sees this concept rather than another one of the
    /// run, right after it was learnt.
    pub recognised_learnt: f64,
    /// The same with all concepts.
    pub recognised_end: f64,
    /// Largest |entry| of B_jᵀ B_i with unit columns.
    pub max_overlap: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Concept by concept.
    pub concepts: Vec<LearntConcept>,
    /// Largest |entry| of B_jᵀ B_i for every pair.
    pub overlaps: Vec<Vec<f64>>,
}

/// What a method made of one concept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearntConcept {
    /// Its id.
    pub id: String,
    /// Identity right after it was learnt.
    pub identity_learnt: f64,
    /// Identity with all concepts.
    pub identity_end: f64,
    /// Pictures in which the judge sees this concept: right after it was learnt, and with all.
    pub recognised: [f64; 2],
    /// Loss on the probes before training.
    pub initial_loss: f64,
    /// Loss on the same probes after training.
    pub final_loss: f64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Summary {
    /// The layout that this version writes.
    pub const VERSION: u32 = 1;
}

impl MethodSummary {
    /// Means of the concepts' numbers.
    ///
    /// # Panics
    /// If there are fewer than two concepts: nothing can be forgotten then.
    pub fn of(concepts: Vec<LearntConcept>, overlaps: Vec<Vec<f64>>) -> Self {
        let all =
            |number: fn(&LearntConcept) -> f64| concepts.iter().map(number).collect::<Vec<_>>();
        let [learnt, end] = [all(|c| c.identity_learnt), all(|c| c.identity_end)];
        let lost: Vec<f64> = learnt.iter().zip(&end).map(|(learnt, end)| learnt - end).collect();
        Self {
            identity_learnt: Estimate::of(&learnt),
            identity_end: Estimate::of(&end),
            forgetting: Estimate::of(&lost[..lost.len() - 1]),
            recognised_learnt: Estimate::of(&all(|c| c.recognised[0])).mean,
            recognised_end: Estimate::of(&all(|c| c.recognised[1])).mean,
            max_overlap: overlaps.iter().flatten().copied().fold(0.0, f64::max),
            seconds: all(|c| c.seconds).iter().sum(),
            concepts,
            overlaps,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn learnt(id: &str, identity_learnt: f64, identity_end: f64) -> LearntConcept {
        LearntConcept {
            id: id.into(),
            identity_learnt,
            identity_end,
            recognised: [1.0, 0.5],
            initial_loss: 0.5,
            final_loss: 0.25,
            seconds: 2.0,
        }
    }

    /// Three concepts with every method.
    pub fn summary() -> Summary {
        let concept = |id: &str| ConceptSummary {
            id: id.into(),
            class_word: "ball".into(),
            references: 2,
            floor: 0.1,
            ceiling: 0.95,
        };
        let concepts = vec![learnt("a", 0.9, 0.7), learnt("b", 0.8, 0.7), learnt("c", 0.7, 0.7)];
        let overlaps = vec![vec![0.0, 0.5, 0.25], vec![0.5, 0.0, 0.125], vec![0.25, 0.125, 0.0]];
        let method = MethodSummary::of(concepts, overlaps);
        Summary {
            version: Summary::VERSION,
            made_by: "test".into(),
            base: "base".into(),
            judge: "judge".into(),
            device: "cpu".into(),
            seed: 0,
            steps: 3,
            sampling: "by hand".into(),
            pictures: 1,
            seconds: 75.0,
            concepts: ["a", "b", "c"].map(concept).to_vec(),
            methods: ["alternating", "lora", "seqlora"]
                .map(|m| (m.to_string(), method.clone()))
                .into(),
        }
    }

    #[test]
    fn means_leave_the_last_concept_out_of_forgetting() {
        let summary = summary().methods["lora"].clone();
        assert!((summary.identity_learnt.mean - 0.8).abs() < 1e-12);
        assert!((summary.forgetting.mean - 0.15).abs() < 1e-12);
        assert_eq!((summary.forgetting.count, summary.identity_end.count), (2, 3));
        assert_eq!((summary.max_overlap, summary.seconds), (0.5, 6.0));
        assert_eq!((summary.recognised_learnt, summary.recognised_end), (1.0, 0.5));
    }

    #[test]
    fn it_survives_being_written_down() {
        let text = serde_json::to_string(&summary()).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary());
        assert!(text.contains(r#""seqlora":{"identity_learnt":{"mean":0.8"#), "{text}");
    }
}
