//! The images that a protocol asks for, in groups that share a model and a subject.

use seqlora_files::sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ConceptProtocol, PairProtocol, Protocol, fill};

/// A method whose images are evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodPlan {
    /// Its name in tables.
    pub name: String,
    /// For each concept of the protocol its place in the order of learning.
    pub places: Vec<usize>,
    /// For each number of first concepts, from 0 on, what identifies the model with these. The last one is
    /// the model that is evaluated; a model that was fused of all concepts has no other.
    pub models: Vec<Option<String>>,
}

/// With which concepts a model makes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// None: the base model.
    Base,
    /// The first so many in the order of learning.
    First(usize),
    /// All of them.
    All,
}

/// What images are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A concept, by its number in the protocol.
    Concept(usize),
    /// Its class, by the concept's number.
    Class(usize),
    /// A pair, and whether each concept has a box.
    Pair(usize, bool),
    /// Nothing that was learnt.
    Unrelated,
}

/// One image that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// What identifies it: a digest of all that it depends on.
    pub key: String,
    /// The prompt that it is made with.
    pub prompt: String,
    /// The prompt that it is scored with: class words stand for concepts.
    pub text: String,
    /// Prompts for boxes: left, top, right and bottom in pixels.
    pub regions: Vec<([usize; 4], String)>,
    /// The seed of its noise.
    pub seed: u64,
}

/// Images of one purpose by one model: prompt by prompt, seed by seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageGroup {
    /// The method, by its number; `None` for the base model.
    pub method: Option<usize>,
    /// With which concepts.
    pub stage: Stage,
    /// What for.
    pub purpose: Purpose,
    /// The images.
    pub images: Vec<PlannedImage>,
}

impl MethodPlan {
    /// The number of concepts of its model.
    pub fn concepts(&self) -> usize {
        self.models.len().saturating_sub(1)
    }

    /// What identifies a model of this method, if there is one.
    pub fn model(&self, stage: Stage) -> Option<&str> {
        let number = match stage {
            Stage::Base => return None,
            Stage::First(count) => count,
            Stage::All => self.concepts(),
        };
        self.models.get(number)?.as_deref()
    }

    /// The stage right after a concept of the protocol was learnt. After the last one it is that of all.
    pub fn learnt(&self, concept: usize) -> Stage {
        let count = self.places[concept] + 1;
        if count == self.concepts() { Stage::All } else { Stage::First(count) }
    }
}

/// All images of a protocol, of `size` pixels (width, height). `base` identifies the base model, `None`
/// if there is none. A method without models makes no images: those come from elsewhere.
///
/// Groups of the same model follow each other, so that each is loaded once.
pub fn images(
    protocol: &Protocol,
    methods: &[MethodPlan],
    base: Option<&str>,
    size: [usize; 2],
) -> Vec<ImageGroup> {
    let planner = Planner { protocol, size };
    let mut groups = Vec::new();
    if let Some(base) = base {
        let floor = (0..protocol.concepts.len()).map(Purpose::Class);
        let unrelated = (!protocol.unrelated.is_empty()).then_some(Purpose::Unrelated);
        let of_base = floor.chain(unrelated);
        groups.extend(of_base.map(|purpose| planner.group(None, Stage::Base, base, purpose)));
    }
    for (number, method) in methods.iter().enumerate() {
        let stages = if method.models.is_empty() { Vec::new() } else { planner.stages(method) };
        for stage in stages {
            let Some(model) = method.model(stage) else { continue };
            let purposes = planner.purposes(method, stage).into_iter();
            groups.extend(purposes.map(|p| planner.group(Some(number), stage, model, p)));
        }
    }
    groups
}

struct Planner<'a> {
    protocol: &'a Protocol,
    size: [usize; 2],
}

impl Planner<'_> {
    /// The stages of a method at which something is evaluated, in order.
    fn stages(&self, method: &MethodPlan) -> Vec<Stage> {
        let concepts = 0..self.protocol.concepts.len();
        let learnt = concepts.filter(|_| self.protocol.forgetting).map(|c| method.learnt(c));
        let fewer = self.protocol.stages.iter().filter(|count| **count < method.concepts());
        let mut stages: Vec<Stage> =
            learnt.chain(fewer.map(|count| Stage::First(*count))).chain([Stage::All]).collect();
        stages.sort_unstable();
        stages.dedup();
        stages
    }

    fn purposes(&self, method: &MethodPlan, stage: Stage) -> Vec<Purpose> {
        let concepts = 0..self.protocol.concepts.len();
        let Stage::First(count) = stage else {
            let mut purposes: Vec<Purpose> = concepts.clone().map(Purpose::Concept).collect();
            purposes.extend(concepts.filter(|_| self.protocol.class_drift).map(Purpose::Class));
            for pair in 0..self.protocol.pairs.len() {
                purposes.push(Purpose::Pair(pair, false));
                purposes.extend(self.protocol.boxes.then_some(Purpose::Pair(pair, true)));
            }
            purposes.extend((!self.protocol.unrelated.is_empty()).then_some(Purpose::Unrelated));
            return purposes;
        };
        let is_stage = self.protocol.stages.contains(&count);
        let shown = |concept: &usize| {
            let place = method.places[*concept];
            (self.protocol.forgetting && place + 1 == count) || (is_stage && place < count)
        };
        concepts.filter(shown).map(Purpose::Concept).collect()
    }

    fn group(
        &self,
        method: Option<usize>,
        stage: Stage,
        model: &str,
        purpose: Purpose,
    ) -> ImageGroup {
        let name = |concept: usize| format!("<{}>", self.concept(concept).id);
        let class = |concept: usize| self.concept(concept).class_word.as_str();
        let prompts: Vec<[String; 2]> = match purpose {
            Purpose::Concept(concept) => {
                let both = |p: &String| [fill(p, &[&name(concept)]), fill(p, &[class(concept)])];
                self.concept(concept).prompts.iter().map(both).collect()
            }
            Purpose::Class(concept) => {
                let same = |p: &String| [fill(p, &[class(concept)]), fill(p, &[class(concept)])];
                self.concept(concept).prompts.iter().map(same).collect()
            }
            Purpose::Pair(pair, _) => {
                let PairProtocol { concepts: [a, b], prompts } = &self.protocol.pairs[pair];
                let both = |p: &String| {
                    [fill(p, &[&name(*a), &name(*b)]), fill(p, &[class(*a), class(*b)])]
                };
                prompts.iter().map(both).collect()
            }
            Purpose::Unrelated => {
                self.protocol.unrelated.iter().map(|p| [p.clone(), p.clone()]).collect()
            }
        };
        let regions = match purpose {
            Purpose::Pair(pair, true) => {
                let boxes = halves(self.size).into_iter().zip(self.protocol.pairs[pair].concepts);
                let filled = |concept| fill(&self.protocol.box_prompt, &[&name(concept)]);
                boxes.map(|(corners, concept)| (corners, filled(concept))).collect()
            }
            _ => Vec::new(),
        };
        let image = |[prompt, text]: &[String; 2], seed: u64| PlannedImage {
            key: self.key(model, prompt, &regions, seed),
            prompt: prompt.clone(),
            text: text.clone(),
            regions: regions.clone(),
            seed,
        };
        let seeds = &self.protocol.seeds;
        let images = prompts.iter().flat_map(|p| seeds.iter().map(move |seed| (p, *seed)));
        let images = images.map(|(prompts, seed)| image(prompts, seed)).collect();
        ImageGroup { method, stage, purpose, images }
    }

    fn concept(&self, number: usize) -> &ConceptProtocol {
        &self.protocol.concepts[number]
    }

    /// A digest of all that an image depends on.
    fn key(
        &self,
        model: &str,
        prompt: &str,
        regions: &[([usize; 4], String)],
        seed: u64,
    ) -> String {
        let recipe = json!({
            "version": 1,
            "model": model,
            "prompt": prompt,
            "regions": regions,
            "sampling": self.protocol.sampling,
            "size": self.size,
            "seed": seed,
        });
        sha256(recipe.to_string().as_bytes())
    }
}

/// The left and the right half of an image.
pub(super) fn halves([width, height]: [usize; 2]) -> [[usize; 4]; 2] {
    [[0, 0, width / 2, height], [width / 2, 0, width, height]]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::super::resolved::tests::protocol;
    use super::*;

    /// A bank with the concepts of [`protocol`] in the order bob, rex, mug.
    pub fn method(name: &str) -> MethodPlan {
        let models = (0..4).map(|count| Some(format!("{name}/{count}"))).collect();
        MethodPlan { name: name.into(), places: vec![1, 2, 0], models }
    }

    #[test]
    fn every_image_is_asked_for_once_per_purpose() {
        let groups = images(&protocol(), &[method("a")], Some("base"), [64, 64]);
        let found: Vec<_> = groups.iter().map(|g| (g.method, g.stage, g.purpose)).collect();
        use Purpose::{Class, Concept, Pair, Unrelated};
        let base = [Class(0), Class(1), Class(2), Unrelated].map(|p| (None, Stage::Base, p));
        let learnt = [(1, 2), (2, 0)].map(|(n, c)| (Some(0), Stage::First(n), Concept(c)));
        let all = [Concept(0), Concept(1), Concept(2), Class(0), Class(1), Class(2)];
        let rest = [Pair(0, false), Pair(0, true), Unrelated];
        let all = all.into_iter().chain(rest).map(|p| (Some(0), Stage::All, p));
        assert_eq!(found, base.into_iter().chain(learnt).chain(all).collect::<Vec<_>>());
        assert!(groups[..3].iter().all(|group| group.images.len() == 4));

        let image = &groups[4].images[3];
        assert_eq!((&image.prompt[..], &image.text[..]), ("a <bob> on grass", "a dog on grass"));
        assert_eq!(image.seed, 5);
        let boxes = &groups.iter().find(|g| g.purpose == Pair(0, true)).unwrap().images[0];
        assert_eq!(boxes.regions[1], ([32, 0, 64, 64], "a photo of a <mug>".into()));
        assert_eq!(
            (&boxes.prompt[..], &boxes.text[..]),
            ("a <rex> and a <mug>", "a dog and a mug")
        );
    }

    /// Keys differ wherever anything does that an image depends on, and nowhere else: both dogs have the
    /// same images of their class.
    #[test]
    fn keys_are_digests_of_what_an_image_depends_on() {
        let protocol = protocol();
        let groups = images(&protocol, &[method("a")], Some("base"), [64, 64]);
        let keys = |group: &ImageGroup| -> Vec<String> {
            group.images.iter().map(|image| image.key.clone()).collect()
        };
        assert_eq!(keys(&groups[0]), keys(&groups[2]));
        let all: Vec<String> = groups.iter().flat_map(keys).collect();
        let distinct: BTreeSet<&String> = all.iter().collect();
        // Class images of both dogs, by the base model and with all concepts.
        assert_eq!(distinct.len(), all.len() - 2 * 4);
        let again = images(&protocol, &[method("a")], Some("base"), [64, 64]);
        assert_eq!(again, groups);
        let mut other = protocol.clone();
        other.sampling.steps += 1;
        let others = images(&other, &[method("a")], Some("base"), [64, 64]);
        assert!(keys(&others[0]).iter().all(|key| !distinct.contains(key)));
    }

    #[test]
    fn a_fused_model_has_one_stage_and_foreign_images_are_not_made() {
        let protocol = protocol();
        let mut fused = method("fused");
        fused.models[..3].fill(None);
        let groups = images(&protocol, &[fused], Some("base"), [64, 64]);
        assert!(groups.iter().all(|group| !matches!(group.stage, Stage::First(_))));
        let foreign = MethodPlan { models: Vec::new(), places: Vec::new(), ..method("theirs") };
        assert!(images(&protocol, &[foreign], None, [64, 64]).is_empty());
    }

    #[test]
    fn stages_ask_for_all_concepts_so_far() {
        let mut protocol = protocol();
        (protocol.forgetting, protocol.stages) = (false, vec![2, 3, 9]);
        let groups = images(&protocol, &[method("a")], None, [64, 64]);
        let early: Vec<_> = groups.iter().filter(|g| g.stage == Stage::First(2)).collect();
        assert_eq!(
            early.iter().map(|g| g.purpose).collect::<Vec<_>>(),
            [Purpose::Concept(0), Purpose::Concept(2)]
        );
    }
}
