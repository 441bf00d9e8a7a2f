//! The protocol of a run, with every default and profile resolved.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::defaults;
use super::prompt::check_prompts;
use super::{EvaluationConfig, Profile, ProtocolError, SamplingConfig, Shift};
use crate::PromptText;
use crate::statistics::Bootstrap;

/// A concept as the data bring it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenConcept {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is, in plain words.
    pub class_word: String,
    /// Its prompts with `{}` for the concept, if the data have any.
    pub prompts: Option<Vec<String>>,
    /// The identity of each reference image.
    pub references: Vec<String>,
}

/// A concept of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptProtocol {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is, in plain words.
    pub class_word: String,
    /// Its prompts, with `{}` for the concept.
    pub prompts: Vec<String>,
    /// The identity of each reference image.
    pub references: Vec<String>,
}

/// Two concepts in one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairProtocol {
    /// The places of the concepts in [`Protocol::concepts`].
    pub concepts: [usize; 2],
    /// The prompts, with `{0}` and `{1}`.
    pub prompts: Vec<String>,
}

/// Everything on which the images and scores of a run depend, but for the methods and metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The published protocol that it starts from.
    pub profile: Profile,
    /// How images are sampled.
    pub sampling: SamplingConfig,
    /// One seed for each image of a prompt.
    pub seeds: Vec<u64>,
    /// What prompts are turned into before they are scored.
    pub prompt_text: PromptText,
    /// The concepts in the order of the data.
    pub concepts: Vec<ConceptProtocol>,
    /// The pairs.
    pub pairs: Vec<PairProtocol>,
    /// What is asked for in the box of one concept of a pair.
    pub box_prompt: String,
    /// Prompts about nothing learnt; empty if drift is not measured.
    pub unrelated: Vec<String>,
    /// Whether each concept is also evaluated right after it was learnt.
    pub forgetting: bool,
    /// Whether images of each class are sampled with all concepts.
    pub class_drift: bool,
    /// Whether images of pairs are also sampled with boxes.
    pub boxes: bool,
    /// Numbers of first concepts at which all concepts so far are evaluated.
    pub stages: Vec<usize>,
    /// How references are degraded.
    pub shifts: Vec<Shift>,
    /// How intervals are computed.
    pub bootstrap: Bootstrap,
}

/// Seeds of a prompt, concepts, and pairs at most.
const MOST_SEEDS: usize = 10_000;
const MOST_CONCEPTS: usize = 10_000;
const MOST_PAIRS: usize = 100_000;

/// Draws of a bootstrap at most: a second of them for a hundred concepts.
const MOST_RESAMPLES: usize = 1_000_000;

impl Protocol {
    /// Resolves settings for the concepts of the data.
    ///
    /// # Errors
    /// If a list of prompts is empty or a prompt lacks its placeholder, a setting names a concept that is not
    /// there, or a number makes no sense.
    pub fn new(config: &EvaluationConfig, given: Vec<GivenConcept>) -> Result<Self, ProtocolError> {
        let profile = config.profile;
        let usual = profile.sampling();
        let sampling = SamplingConfig {
            sampler: config.sampler.unwrap_or(usual.sampler),
            steps: config.steps.unwrap_or(usual.steps),
            guidance: config.guidance.unwrap_or(usual.guidance),
            negative: config.negative.clone().unwrap_or(usual.negative),
            size: config.size.or(usual.size),
        };
        let general = owned(&defaults::SINGLE);
        let general = config.prompts.as_ref().unwrap_or(&general);
        let concept = |given: GivenConcept| {
            let own = config.concept.iter().find(|own| own.id == given.id).map(|own| &own.prompts);
            let prompts = own.or(given.prompts.as_ref()).unwrap_or(general).clone();
            let GivenConcept { id, class_word, references, .. } = given;
            ConceptProtocol { id, class_word, prompts, references }
        };
        let unrelated = match config.drift {
            true => config.unrelated.clone().unwrap_or_else(|| owned(&defaults::UNRELATED)),
            false => Vec::new(),
        };
        let mut protocol = Self {
            profile,
            sampling,
            seeds: config.seeds.clone().unwrap_or_else(|| profile.seeds()),
            prompt_text: profile.prompt_text(),
            concepts: given.into_iter().map(concept).collect(),
            pairs: Vec::new(),
            box_prompt: config.box_prompt.clone().unwrap_or_else(|| defaults::BOX.into()),
            unrelated,
            forgetting: config.forgetting,
            class_drift: config.class_drift,
            boxes: config.boxes,
            stages: config.stages.clone(),
            shifts: config.shifts.clone(),
            bootstrap: config.bootstrap,
        };
        for own in &config.concept {
            protocol.place(&own.id)?;
        }
        for pair in &config.pair {
            let [first, second] = &pair.concepts;
            let concepts = [protocol.place(first)?, protocol.place(second)?];
            let prompts = pair.prompts.clone().unwrap_or_else(|| owned(&defaults::PAIR));
            protocol.pairs.push(PairProtocol { concepts, prompts });
        }
        protocol.check(config)?;
        Ok(protocol)
    }

    /// The place of a concept.
    fn place(&self, id: &str) -> Result<usize, ProtocolError> {
        let place = self.concepts.iter().position(|concept| concept.id == id);
        let text = || format!("there is no concept `{id}` among those that are evaluated");
        place.ok_or_else(|| ProtocolError::Invalid(text()))
    }

    fn check(&self, config: &EvaluationConfig) -> Result<(), ProtocolError> {
        let invalid = |reason: String| Err(ProtocolError::Invalid(reason));
        let counts = [
            ("seeds", self.seeds.len(), 1, MOST_SEEDS),
            ("concepts", self.concepts.len(), 1, MOST_CONCEPTS),
            ("pairs", self.pairs.len(), 0, MOST_PAIRS),
            ("bootstrap.resamples", self.bootstrap.resamples, 1, MOST_RESAMPLES),
        ];
        for (name, count, least, most) in counts {
            if !(least..=most).contains(&count) {
                return invalid(format!("`{name}`: {count}; it must be from {least} to {most}"));
            }
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return invalid("`seeds`: a seed is given twice".into());
        }
        if !(self.bootstrap.level > 0.0 && self.bootstrap.level < 1.0) {
            return invalid(format!("`bootstrap.level` is {}", self.bootstrap.level));
        }
        if !self.sampling.guidance.is_finite() {
            return invalid(format!("`guidance` is {}", self.sampling.guidance));
        }
        for ConceptProtocol { id, prompts, .. } in &self.concepts {
            check_prompts(&format!("prompts of `{id}`"), prompts, &["{}"])?;
        }
        for PairProtocol { concepts, prompts } in &self.pairs {
            let [first, second] = concepts.map(|place| &self.concepts[place].id);
            if first == second {
                return invalid(format!("a pair has `{first}` twice"));
            }
            let list = format!("prompts of `{first}` and `{second}`");
            check_prompts(&list, prompts, &[])?;
            // One published prompt names only one of its concepts.
            let lacks = |prompt: &String| !prompt.contains("{0}") && !prompt.contains("{1}");
            if let Some(number) = prompts.iter().position(lacks) {
                let (prompt, placeholder) = (prompts[number].clone(), "{0} and {1}");
                return Err(ProtocolError::NoPlaceholder {
                    list,
                    number: number + 1,
                    prompt,
                    placeholder,
                });
            }
        }
        check_prompts("`box_prompt`", std::slice::from_ref(&self.box_prompt), &["{}"])?;
        if config.drift {
            check_prompts("`unrelated`", &self.unrelated, &[])?;
        }
        Ok(())
    }

    /// In what the run is not the published protocol, in sentences.
    pub fn deviations(&self) -> Vec<String> {
        let limits = self.profile.limits().iter().map(|limit| limit.to_string());
        let seeds = self.profile.seeds();
        let seeds = (self.seeds != seeds).then(|| {
            format!(
                "images per prompt: {}; {} has {}",
                self.seeds.len(),
                self.profile.name(),
                seeds.len()
            )
        });
        let counts: BTreeSet<usize> = self.concepts.iter().map(|c| c.prompts.len()).collect();
        let prompts = (counts != BTreeSet::from([20])).then(|| {
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            format!("prompts per concept: {}; {} has 20", counts.join(", "), self.profile.name())
        });
        let sampling = self.sampling.deviations(self.profile);
        limits.chain(sampling).chain(seeds).chain(prompts).collect()
    }

    /// The other concepts of a concept's class.
    pub fn of_same_class(&self, concept: usize) -> impl Iterator<Item = usize> {
        let class = &self.concepts[concept].class_word;
        let others = self.concepts.iter().enumerate();
        let others = others.filter(move |(other, c)| *other != concept && c.class_word == *class);
        others.map(|(other, _)| other)
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::PairConfig;

    pub fn given(id: &str, class_word: &str) -> GivenConcept {
        let references = vec![format!("{id}-0"), format!("{id}-1")];
        GivenConcept { id: id.into(), class_word: class_word.into(), prompts: None, references }
    }

    /// Two dogs and a mug, two prompts, two seeds, one pair.
    pub fn protocol() -> Protocol {
        let config = EvaluationConfig {
            seeds: Some(vec![3, 5]),
            prompts: Some(vec!["a photo of a {}".into(), "a {} on grass".into()]),
            unrelated: Some(vec!["a lake".into()]),
            pair: vec![PairConfig {
                concepts: ["rex".into(), "mug".into()],
                prompts: Some(vec!["a {0} and a {1}".into()]),
            }],
            ..EvaluationConfig::default()
        };
        let concepts = [("rex", "dog"), ("mug", "mug"), ("bob", "dog")];
        Protocol::new(&config, concepts.map(|(id, class)| given(id, class)).into()).unwrap()
    }

    #[test]
    fn profile_settings_and_data_are_resolved_in_this_order() {
        let mut concept = given("rex", "dog");
        concept.prompts = Some(vec!["{} of the data".into()]);
        let config = EvaluationConfig { steps: Some(7), ..EvaluationConfig::default() };
        let protocol = Protocol::new(&config, vec![concept.clone(), given("mug", "mug")]).unwrap();
        assert_eq!((protocol.sampling.steps, protocol.sampling.guidance), (7, 7.5));
        assert_eq!(protocol.concepts[0].prompts, ["{} of the data"]);
        assert_eq!((protocol.concepts[1].prompts.len(), protocol.seeds.len()), (20, 5));
        let own = crate::protocol::ConceptConfig { id: "rex".into(), prompts: vec!["{}!".into()] };
        let config = EvaluationConfig { concept: vec![own], ..config };
        let protocol = Protocol::new(&config, vec![concept]).unwrap();
        assert_eq!(protocol.concepts[0].prompts, ["{}!"]);
        let said = protocol.deviations().join("; ");
        assert!(said.contains("steps: 7") && said.contains("prompts per concept: 1;"), "{said}");
        assert_eq!(protocol.of_same_class(0).count(), 0);
        assert_eq!(super::tests::protocol().of_same_class(0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refusal = |change: &dyn Fn(&mut EvaluationConfig)| {
            let mut config = EvaluationConfig::default();
            change(&mut config);
            Protocol::new(&config, vec![given("rex", "dog")]).unwrap_err().to_string()
        };
        let pair = |first: &str, second: &str, prompt: &str| PairConfig {
            concepts: [first.into(), second.into()],
            prompts: Some(vec![prompt.into()]),
        };
        assert!(refusal(&|c| c.seeds = Some(vec![])).contains("`seeds`: 0"));
        assert!(refusal(&|c| c.seeds = Some(vec![1, 1])).contains("twice"));
        assert!(refusal(&|c| c.prompts = Some(vec![])).contains("`rex`: there is no prompt"));
        assert!(refusal(&|c| c.prompts = Some(vec!["a dog".into()])).contains("lacks {}"));
        assert!(refusal(&|c| c.unrelated = Some(vec![])).contains("`unrelated`"));
        assert!(refusal(&|c| c.guidance = Some(f64::NAN)).contains("`guidance` is NaN"));
        assert!(refusal(&|c| c.pair = vec![pair("rex", "bob", "")]).contains("no concept `bob`"));
        assert!(refusal(&|c| c.pair = vec![pair("rex", "rex", "")]).contains("twice"));
        let both = |prompt: &str| {
            let pair = vec![pair("rex", "bob", prompt)];
            let config = EvaluationConfig { pair, ..EvaluationConfig::default() };
            Protocol::new(&config, vec![given("rex", "dog"), given("bob", "dog")])
        };
        assert!(both("{0} asleep beside {0}").is_ok());
        assert!(both("two dogs").unwrap_err().to_string().contains("lacks {0} and {1}"));
        assert!(refusal(&|c| c.bootstrap.level = 1.0).contains("bootstrap.level"));
        let none = Protocol::new(&EvaluationConfig::default(), Vec::new()).unwrap_err();
        assert!(none.to_string().contains("`concepts`: 0"));
    }
}
