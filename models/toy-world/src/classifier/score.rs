//! Attribute accuracy: how often images show what their prompts state.

use serde::{Deserialize, Serialize};

use super::prediction::{Detection, Prediction};
use crate::world::{Description, ObjectDescription, Relation};

/// Whether an image shows what a description states, attribute by attribute. `None` means that the
/// description does not state the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// The class of every object is present.
    pub class: Option<bool>,
    /// Every object with a stated colour is present in that colour.
    pub colour: Option<bool>,
    /// Every object with a stated pattern is present in that pattern.
    pub pattern: Option<bool>,
    /// Both objects are present and in the stated relation.
    pub relation: Option<bool>,
    /// The background is the stated one.
    pub background: Option<bool>,
}

impl Prediction {
    /// Compares the prediction with the description that a prompt states.
    pub fn agreement(&self, stated: &Description) -> Agreement {
        let objects: Vec<(&ObjectDescription, Option<&Detection>)> =
            stated.objects.iter().map(|object| (object, self.find(object.class))).collect();
        let relation = |relation: Relation| match objects[..] {
            [(_, first), (_, second)] => Some(first.zip(second).is_some_and(|(first, second)| {
                Relation::between(first.centre, second.centre) == relation
            })),
            _ => None,
        };
        Agreement {
            class: all(&objects, |object| Some(object.class), |found| found.class),
            colour: all(&objects, |object| object.colour, |found| found.colour),
            pattern: all(&objects, |object| object.pattern, |found| found.pattern),
            relation: stated.relation.and_then(relation),
            background: stated.background.map(|background| background == self.background),
        }
    }
}

/// Whether every object has the attribute that is stated for it; `None` if none is stated.
fn all<T: PartialEq>(
    objects: &[(&ObjectDescription, Option<&Detection>)],
    stated: impl Fn(&ObjectDescription) -> Option<T>,
    predicted: impl Fn(&Detection) -> T,
) -> Option<bool> {
    let answers = objects.iter().filter_map(|(object, found)| {
        let stated = stated(object)?;
        Some(found.is_some_and(|found| predicted(found) == stated))
    });
    answers.reduce(|all, one| all && one)
}

/// The share of images that show an attribute as stated, among those whose prompts state it. `None`
/// means that no prompt states it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see Agreement")]
pub struct AttributeAccuracy {
    pub class: Option<f64>,
    pub colour: Option<f64>,
    pub pattern: Option<f64>,
    pub relation: Option<f64>,
    pub background: Option<f64>,
}

impl FromIterator<Agreement> for AttributeAccuracy {
    fn from_iter<I: IntoIterator<Item = Agreement>>(agreements: I) -> Self {
        let agreements: Vec<Agreement> = agreements.into_iter().collect();
        let share = |attribute: fn(&Agreement) -> Option<bool>| {
            let answers: Vec<bool> = agreements.iter().filter_map(attribute).collect();
            let right = answers.iter().filter(|right| **right).count();
            (!answers.is_empty()).then(|| right as f64 / answers.len() as f64)
        };
        Self {
            class: share(|agreement| agreement.class),
            colour: share(|agreement| agreement.colour),
            pattern: share(|agreement| agreement.pattern),
            relation: share(|agreement| agreement.relation),
            background: share(|agreement| agreement.background),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Background, Class, Colour, Pattern};

    fn found(class: Class, colour: Colour, centre: (f32, f32)) -> Detection {
        Detection { class, probability: 0.9, colour, pattern: Pattern::Plain, centre }
    }

    /// A red mug left of a blue cat in the snow.
    fn prediction() -> Prediction {
        let mut unlikely = found(Class::Hat, Colour::Green, (0.5, 0.5));
        unlikely.probability = 0.1;
        let mug = found(Class::Mug, Colour::Red, (0.2, 0.5));
        let cat = found(Class::Cat, Colour::Blue, (0.7, 0.6));
        Prediction { classes: vec![cat, mug, unlikely], background: Background::Snow }
    }

    fn described(class: Class, colour: Colour) -> ObjectDescription {
        ObjectDescription { colour: Some(colour), ..ObjectDescription::any(class) }
    }

    fn agreement(objects: Vec<ObjectDescription>, relation: Option<Relation>) -> Agreement {
        prediction().agreement(&Description { objects, relation, background: None })
    }

    #[test]
    fn stated_attributes_that_are_predicted_agree() {
        let objects = vec![described(Class::Mug, Colour::Red), ObjectDescription::any(Class::Cat)];
        let agreement = agreement(objects, Some(Relation::LeftOf));
        assert_eq!((agreement.class, agreement.colour), (Some(true), Some(true)));
        assert_eq!(agreement.relation, Some(true));
        assert_eq!((agreement.pattern, agreement.background), (None, None));
        let unstated = prediction().agreement(&Description::default());
        assert_eq!(unstated, Agreement::default());
    }

    #[test]
    fn exchanged_colours_and_sides_disagree() {
        let objects = vec![described(Class::Mug, Colour::Blue), described(Class::Cat, Colour::Red)];
        let agreement = agreement(objects, Some(Relation::RightOf));
        assert_eq!((agreement.class, agreement.colour), (Some(true), Some(false)));
        assert_eq!(agreement.relation, Some(false));
    }

    #[test]
    fn an_object_that_is_missing_disagrees_in_all_attributes() {
        let objects =
            vec![described(Class::Mug, Colour::Red), described(Class::Hat, Colour::Green)];
        let agreement = agreement(objects, Some(Relation::LeftOf));
        assert_eq!((agreement.class, agreement.colour), (Some(false), Some(false)));
        assert_eq!(agreement.relation, Some(false));
    }

    #[test]
    fn accuracy_counts_the_prompts_that_state_an_attribute() {
        let right = Agreement { class: Some(true), colour: Some(true), ..Agreement::default() };
        let wrong = Agreement { class: Some(true), colour: Some(false), ..Agreement::default() };
        let silent = Agreement { class: Some(false), ..Agreement::default() };
        let accuracy: AttributeAccuracy = [right, wrong, right, silent].into_iter().collect();
        assert_eq!((accuracy.class, accuracy.relation), (Some(0.75), None));
        assert!((accuracy.colour.unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }
}
