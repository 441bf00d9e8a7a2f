//! What is scored: images with the references that they are compared with.

use serde::{Deserialize, Serialize};

use super::images::halves;
use super::{ImageGroup, MethodPlan, Protocol, Purpose, Shift, Stage};
use crate::Needs;

/// What the scores of a set say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// A concept right after it was learnt.
    Learnt,
    /// A concept with all concepts.
    End,
    /// A concept with the first so many.
    At(usize),
    /// The base model's images of a concept's class, as if they were of the concept.
    Floor,
    /// A concept's references, each against the others.
    Ceiling,
    /// The class, sampled with all concepts, as if it were the concept.
    Class,
    /// A concept with all concepts, against the references of another one of its class.
    Other(usize),
    /// A concept with all concepts, against degraded references.
    Shifted(Shift),
    /// Images about nothing learnt, each against the base model's of the same prompt and noise.
    Drift,
    /// Images about nothing learnt, against their prompts; without a method the base model's.
    Unrelated,
    /// Images of a pair, against the references of one of its concepts.
    Pair {
        /// Whether each concept has a box.
        boxes: bool,
        /// 0 or 1: which concept.
        member: usize,
        /// Whether only the concept's box is compared, black around it to a square.
        cropped: bool,
    },
    /// Images of a pair, against their prompts.
    PairPrompt {
        /// Whether each concept has a box.
        boxes: bool,
    },
}

/// An image that takes part in a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A generated one, by its key.
    Generated(String),
    /// A box of a generated one: left, top, right and bottom in pixels.
    Cropped(String, [usize; 4]),
    /// A reference of a concept, perhaps degraded.
    Reference {
        /// The concept's number.
        concept: usize,
        /// The reference's number.
        number: usize,
        /// How it is degraded.
        shift: Option<Shift>,
    },
}

/// Images that share their references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The images.
    pub images: Vec<ImageSource>,
    /// The prompt of each; none where there is none.
    pub prompts: Vec<String>,
    /// What they are compared with.
    pub references: Vec<ImageSource>,
    /// The concept whose references these are, if all other concepts' are distractors.
    pub among: Option<usize>,
}

/// Scores that belong together: they are computed and stored as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreSet {
    /// What they say.
    pub kind: ScoreKind,
    /// The method, by its number; `None` for the base model and for references.
    pub method: Option<usize>,
    /// The concept, or the pair; 0 for images about nothing learnt.
    pub subject: usize,
    /// The images.
    pub sections: Vec<Section>,
    /// The number of the group of images that it is about; `None` for references.
    pub group: Option<usize>,
}

impl ImageSource {
    /// What it is called in tables.
    pub fn name(&self) -> String {
        match self {
            Self::Generated(key) => key.clone(),
            Self::Cropped(key, [x0, y0, x1, y1]) => format!("{key}@{x0},{y0},{x1},{y1}"),
            Self::Reference { concept, number, shift: None } => {
                format!("reference {number} of concept {concept}")
            }
            Self::Reference { concept, number, shift: Some(shift) } => {
                format!("reference {number} of concept {concept}, {shift}")
            }
        }
    }
}

impl ScoreKind {
    /// Whether a metric with these needs says something here.
    pub fn applies(self, needs: Needs) -> bool {
        let Needs { prompts, references, others } = needs;
        match self {
            Self::Learnt | Self::End | Self::At(_) | Self::Floor => true,
            Self::Ceiling => references && !prompts,
            Self::Class => references,
            Self::Other(_) | Self::Drift => references && !others && !prompts,
            Self::Shifted(_) | Self::Pair { .. } => references && !others,
            Self::Unrelated | Self::PairPrompt { .. } => !references,
        }
    }
}

/// All scores of a protocol whose images are in `groups`, of `size` pixels.
pub fn score_sets(
    protocol: &Protocol,
    methods: &[MethodPlan],
    groups: &[ImageGroup],
    size: [usize; 2],
) -> Vec<ScoreSet> {
    let scorer = Scorer { protocol, methods, groups, size };
    let references = (0..protocol.concepts.len()).filter_map(|concept| scorer.ceiling(concept));
    let of_groups = (0..groups.len()).flat_map(|number| scorer.of_group(number));
    references.chain(of_groups).collect()
}

struct Scorer<'a> {
    protocol: &'a Protocol,
    methods: &'a [MethodPlan],
    groups: &'a [ImageGroup],
    size: [usize; 2],
}

impl Scorer<'_> {
    fn of_group(&self, number: usize) -> Vec<ScoreSet> {
        let ImageGroup { method, stage, purpose, images } = &self.groups[number];
        let set = |kind, subject, sections| ScoreSet {
            kind,
            method: *method,
            subject,
            sections,
            group: Some(number),
        };
        let whole =
            || images.iter().map(|image| ImageSource::Generated(image.key.clone())).collect();
        // Of images from elsewhere the prompt may not be known.
        let known = images.iter().all(|image| !image.text.is_empty());
        let prompts =
            || images.iter().filter(|_| known).map(|image| image.text.clone()).collect::<Vec<_>>();
        let section = |concept, shift, among| Section {
            images: whole(),
            prompts: prompts(),
            references: self.references(concept, shift),
            among,
        };
        let against_own =
            |kind, concept| set(kind, concept, vec![section(concept, None, Some(concept))]);
        match (*purpose, *method) {
            (Purpose::Class(concept), None) => vec![against_own(ScoreKind::Floor, concept)],
            (Purpose::Class(concept), Some(_)) => vec![against_own(ScoreKind::Class, concept)],
            (Purpose::Concept(concept), method) => {
                let mut sets: Vec<ScoreSet> = self
                    .concept_kinds(method, *stage, concept)
                    .into_iter()
                    .map(|kind| against_own(kind, concept))
                    .collect();
                if *stage == Stage::All {
                    let others = self.protocol.of_same_class(concept);
                    sets.extend(others.map(|other| {
                        let section = section(other, None, None);
                        set(ScoreKind::Other(other), concept, vec![section])
                    }));
                    sets.extend(self.protocol.shifts.iter().map(|shift| {
                        let section = section(concept, Some(*shift), None);
                        set(ScoreKind::Shifted(*shift), concept, vec![section])
                    }));
                }
                sets
            }
            (Purpose::Unrelated, _) => {
                let plain = Section {
                    images: whole(),
                    prompts: prompts(),
                    references: Vec::new(),
                    among: None,
                };
                let drift = method.and_then(|_| self.drift(number));
                let drift = drift.map(|sections| set(ScoreKind::Drift, 0, sections));
                [set(ScoreKind::Unrelated, 0, vec![plain])].into_iter().chain(drift).collect()
            }
            (Purpose::Pair(pair, boxes), _) => {
                let concepts = self.protocol.pairs[pair].concepts;
                let corners = halves(self.size);
                let views = [(0, false), (1, false), (0, true), (1, true)];
                let views = views.into_iter().filter(|(_, cropped)| boxes || !cropped);
                let of_view = |(member, cropped): (usize, bool)| {
                    let mut section = section(concepts[member], None, None);
                    if cropped {
                        let cropped = |i: &super::PlannedImage| {
                            ImageSource::Cropped(i.key.clone(), corners[member])
                        };
                        section.images = images.iter().map(cropped).collect();
                    }
                    set(ScoreKind::Pair { boxes, member, cropped }, pair, vec![section])
                };
                let prompts = Section {
                    images: whole(),
                    prompts: prompts(),
                    references: Vec::new(),
                    among: None,
                };
                let prompts = set(ScoreKind::PairPrompt { boxes }, pair, vec![prompts]);
                views.map(of_view).chain([prompts]).collect()
            }
        }
    }

    /// What the images of a concept at a stage say of it.
    fn concept_kinds(&self, method: Option<usize>, stage: Stage, concept: usize) -> Vec<ScoreKind> {
        let Some(method) = method.map(|number| &self.methods[number]) else { return Vec::new() };
        if method.models.is_empty() {
            return vec![ScoreKind::End];
        }
        let learnt = self.protocol.forgetting
            && method.learnt(concept) == stage
            && method.models.iter().skip(1).all(Option::is_some);
        let end = (stage == Stage::All).then_some(ScoreKind::End);
        let at = match stage {
            Stage::First(count) if self.protocol.stages.contains(&count) => {
                Some(ScoreKind::At(count))
            }
            _ => None,
        };
        learnt.then_some(ScoreKind::Learnt).into_iter().chain(end).chain(at).collect()
    }

    /// Each reference against the others, if there are two.
    fn ceiling(&self, concept: usize) -> Option<ScoreSet> {
        let all = self.references(concept, None);
        let left_out = |number: usize| {
            let mut references = all.clone();
            let image = references.remove(number);
            Section { images: vec![image], prompts: Vec::new(), references, among: Some(concept) }
        };
        (all.len() > 1).then(|| ScoreSet {
            kind: ScoreKind::Ceiling,
            method: None,
            subject: concept,
            sections: (0..all.len()).map(left_out).collect(),
            group: None,
        })
    }

    /// Each image of a group against the base model's of the same prompt and noise.
    fn drift(&self, number: usize) -> Option<Vec<Section>> {
        let is_base =
            |group: &&ImageGroup| group.method.is_none() && group.purpose == Purpose::Unrelated;
        let base = self.groups.iter().find(is_base)?;
        let pairs = self.groups[number].images.iter().zip(&base.images);
        let section = |(image, base): (&super::PlannedImage, &super::PlannedImage)| Section {
            images: vec![ImageSource::Generated(image.key.clone())],
            prompts: vec![image.text.clone()],
            references: vec![ImageSource::Generated(base.key.clone())],
            among: None,
        };
        Some(pairs.map(section).collect())
    }

    fn references(&self, concept: usize, shift: Option<Shift>) -> Vec<ImageSource> {
        let count = self.protocol.concepts[concept].references.len();
        (0..count).map(|number| ImageSource::Reference { concept, number, shift }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::images;
    use super::super::images::tests::method;
    use super::super::resolved::tests::protocol;
    use super::*;

    #[test]
    fn every_question_is_asked_once() {
        let mut protocol = protocol();
        protocol.shifts = vec![Shift::Blur, Shift::Hue];
        let methods = [method("a")];
        let groups = images(&protocol, &methods, Some("base"), [64, 64]);
        let sets = score_sets(&protocol, &methods, &groups, [64, 64]);
        let mut counts: BTreeMap<ScoreKind, usize> = BTreeMap::new();
        sets.iter().for_each(|set| *counts.entry(set.kind).or_default() += 1);
        let pair = |boxes, member, cropped| ScoreKind::Pair { boxes, member, cropped };
        let expected = [
            (ScoreKind::Learnt, 3),
            (ScoreKind::End, 3),
            (ScoreKind::Floor, 3),
            (ScoreKind::Ceiling, 3),
            (ScoreKind::Class, 3),
            // The dogs, each against the other.
            (ScoreKind::Other(0), 1),
            (ScoreKind::Other(2), 1),
            (ScoreKind::Shifted(Shift::Blur), 3),
            (ScoreKind::Shifted(Shift::Hue), 3),
            (ScoreKind::Drift, 1),
            (ScoreKind::Unrelated, 2),
            (pair(false, 0, false), 1),
            (pair(false, 1, false), 1),
            (pair(true, 0, false), 1),
            (pair(true, 1, false), 1),
            (pair(true, 0, true), 1),
            (pair(true, 1, true), 1),
            (ScoreKind::PairPrompt { boxes: false }, 1),
            (ScoreKind::PairPrompt { boxes: true }, 1),
        ];
        assert_eq!(counts, expected.into());
    }

    #[test]
    fn references_are_left_out_and_drift_has_a_partner_for_each_image() {
        let (protocol, methods) = (protocol(), [method("a")]);
        let groups = images(&protocol, &methods, Some("base"), [64, 64]);
        let sets = score_sets(&protocol, &methods, &groups, [64, 64]);
        let Section { images: left_out, references, among, .. } = &sets[0].sections[1];
        let reference = |number| ImageSource::Reference { concept: 0, number, shift: None };
        assert_eq!((left_out, references), (&vec![reference(1)], &vec![reference(0)]));
        assert_eq!(*among, Some(0));
        let drift = sets.iter().find(|set| set.kind == ScoreKind::Drift).unwrap();
        assert_eq!(drift.sections.len(), 2);
        for Section { images, references, .. } in &drift.sections {
            assert!(images.len() == 1 && references.len() == 1 && images != references);
        }
        // The concept that was learnt last has the same images at both times.
        let of_last = |kind| {
            let set = sets.iter().find(|set| set.kind == kind && set.subject == 1);
            set.unwrap().sections.clone()
        };
        assert_eq!(of_last(ScoreKind::Learnt), of_last(ScoreKind::End));
    }

    #[test]
    fn metrics_are_asked_what_they_can_answer() {
        let needs = |prompts, references, others| Needs { prompts, references, others };
        let identity = needs(false, true, false);
        let recognition = needs(false, true, true);
        let prompt = needs(true, false, false);
        assert!(ScoreKind::Drift.applies(identity) && !ScoreKind::Drift.applies(recognition));
        assert!(ScoreKind::Ceiling.applies(recognition) && !ScoreKind::Ceiling.applies(prompt));
        assert!(ScoreKind::Unrelated.applies(prompt) && !ScoreKind::Unrelated.applies(identity));
        assert!(ScoreKind::End.applies(needs(false, false, false)));
    }
}
