//! The settings of an evaluation.

use seqlora_core::diffusion::SamplerKind;
use serde::{Deserialize, Serialize};

use super::{Profile, Shift};
use crate::statistics::Bootstrap;

/// What a settings file says of an evaluation. What it leaves out is the profile's or a default; an unknown
/// key is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// The published protocol to start from.
    pub profile: Profile,
    /// One seed for each image of a prompt.
    pub seeds: Option<Vec<u64>>,
    /// The sampler.
    pub sampler: Option<SamplerKind>,
    /// Sampling steps.
    pub steps: Option<usize>,
    /// Classifier-free guidance.
    pub guidance: Option<f64>,
    /// The negative prompt.
    pub negative: Option<String>,
    /// Width and height in pixels.
    pub size: Option<[usize; 2]>,
    /// Prompts of concepts that have none of their own, with `{}` for the concept.
    pub prompts: Option<Vec<String>>,
    /// Prompts about nothing learnt, for drift.
    pub unrelated: Option<Vec<String>>,
    /// What is asked for in the box of one concept of a pair, with `{}` for the concept.
    pub box_prompt: Option<String>,
    /// Whether each concept is also evaluated with the model right after it was learnt.
    pub forgetting: bool,
    /// Whether images about nothing learnt are compared with the base model's.
    pub drift: bool,
    /// Whether images of a concept's class are sampled with all concepts.
    pub class_drift: bool,
    /// Whether images of pairs are also sampled with a box for each concept.
    pub boxes: bool,
    /// Numbers of first concepts at which all concepts so far are evaluated.
    pub stages: Vec<usize>,
    /// How references are degraded to see what a shift of their distribution costs.
    pub shifts: Vec<Shift>,
    /// Prompts of single concepts, which win over those of the data.
    pub concept: Vec<ConceptConfig>,
    /// Two concepts in one image.
    pub pair: Vec<PairConfig>,
    /// How intervals are computed.
    pub bootstrap: Bootstrap,
}

/// The prompts of one concept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptConfig {
    /// The concept.
    pub id: String,
    /// Its prompts, with `{}` for the concept.
    pub prompts: Vec<String>,
}

/// Two concepts in one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    /// The concepts that `{0}` and `{1}` stand for.
    pub concepts: [String; 2],
    /// The prompts; a few general ones where not given.
    pub prompts: Option<Vec<String>>,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            seeds: None,
            sampler: None,
            steps: None,
            guidance: None,
            negative: None,
            size: None,
            prompts: None,
            unrelated: None,
            box_prompt: None,
            forgetting: true,
            drift: true,
            class_drift: true,
            boxes: true,
            stages: Vec::new(),
            shifts: Vec::new(),
            concept: Vec::new(),
            pair: Vec::new(),
            bootstrap: Bootstrap::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_keeps_its_default_and_unknown_keys_are_refused() {
        let config: EvaluationConfig =
            serde_json::from_str(r#"{"profile":"cc101","shifts":["jpeg"],"seeds":[3]}"#).unwrap();
        assert_eq!((config.profile, config.seeds), (Profile::Cc101, Some(vec![3])));
        assert!(config.forgetting && config.shifts == [Shift::Jpeg]);
        for wrong in [r#"{"seed":1}"#, r#"{"pair":[{"concepts":["a"]}]}"#, r#"{"profile":"x"}"#] {
            assert!(serde_json::from_str::<EvaluationConfig>(wrong).is_err(), "{wrong}");
        }
        let pair = r#"{"pair":[{"concepts":["a","b"],"boxes":1}]}"#;
        assert!(serde_json::from_str::<EvaluationConfig>(pair).is_err());
    }
}
