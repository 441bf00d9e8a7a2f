//! Attribute accuracy: how often images show what their prompts state.

use serde::{Deserialize, Serialize};

use super::attributes::Attribute;
use super::prediction::{Detection, Prediction};
use crate::world::{Description, ObjectDescription, Relation};

/// Whether an image shows what a description states, attribute by attribute. `None` means that the
/// description does not state the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Every object is found with its class.
    pub class: Option<bool>,
    /// Every object has the colour that is stated for its main part.
    pub main: Option<bool>,
    /// Likewise for the second part.
    pub second: Option<bool>,
    /// Likewise for the third part.
    pub third: Option<bool>,
    /// Every object has the stated marking.
    pub marking: Option<bool>,
    /// Every marking has the stated colour.
    pub marked: Option<bool>,
    /// Every object is of the stated variant.
    pub variant: Option<bool>,
    /// Both objects are found and in the stated relation.
    pub relation: Option<bool>,
    /// The background is the stated one.
    pub background: Option<bool>,
}

/// The objects of a description, each with the detection that is taken for it.
type Pairs<'a> = Vec<(&'a ObjectDescription, Option<&'a Detection>)>;

impl Prediction {
    /// Compares the prediction with the description that a prompt states. Detections are assigned to
    /// objects so that as much as possible agrees, each to at most one.
    pub fn agreement(&self, stated: &Description) -> Agreement {
        let right = |agreement: &Agreement| agreement.answers().flatten().filter(|a| *a).count();
        let agreements = self.assignments(&stated.objects).into_iter();
        let agreements = agreements.map(|pairs| self.agreement_of(&pairs, stated));
        agreements.max_by_key(right).unwrap_or_default()
    }

    /// All ways to assign detections to one or two objects; an object may stay without one.
    fn assignments<'a>(&'a self, objects: &'a [ObjectDescription]) -> Vec<Pairs<'a>> {
        let choices = || self.objects.iter().map(Some).chain([None]);
        let same = |a: Option<&Detection>, b: Option<&Detection>| {
            a.zip(b).is_some_and(|(a, b)| std::ptr::eq(a, b))
        };
        match objects {
            [] => vec![Vec::new()],
            [one] => choices().map(|found| vec![(one, found)]).collect(),
            [one, another, ..] => choices()
                .flat_map(|first| choices().map(move |second| (first, second)))
                .filter(|(first, second)| !same(*first, *second))
                .map(|(first, second)| vec![(one, first), (another, second)])
                .collect(),
        }
    }

    fn agreement_of(&self, pairs: &Pairs<'_>, stated: &Description) -> Agreement {
        let relation = |relation: Relation| match pairs[..] {
            [(_, first), (_, second)] => Some(first.zip(second).is_some_and(|(first, second)| {
                Relation::between(first.centre, second.centre) == relation
            })),
            _ => None,
        };
        let all = |attribute| all_agree(pairs, attribute);
        Agreement {
            class: all(Attribute::Class),
            main: all(Attribute::Main),
            second: all(Attribute::Second),
            third: all(Attribute::Third),
            marking: all(Attribute::Marking),
            marked: all(Attribute::Marked),
            variant: all(Attribute::Variant),
            relation: stated.relation.and_then(relation),
            background: stated.background.map(|background| background == self.background),
        }
    }
}

impl Agreement {
    fn answers(&self) -> impl Iterator<Item = Option<bool>> {
        let Self { class, main, second, third, marking, marked, variant, relation, background } =
            *self;
        [class, main, second, third, marking, marked, variant, relation, background].into_iter()
    }
}

/// Whether every object is found with its class and with the value that is stated for an attribute; `None`
/// if none is stated.
fn all_agree(pairs: &Pairs<'_>, attribute: Attribute) -> Option<bool> {
    let answers = pairs.iter().filter_map(|(object, found)| {
        let stated = object.value(attribute)?;
        Some(found.is_some_and(|found| {
            found.class == object.class && attribute.value(found.class, &found.look) == Some(stated)
        }))
    });
    answers.reduce(|all, one| all && one)
}

/// The share of images that show an attribute as stated, among those whose prompts state it. `None`
/// means that no prompt states it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see Agreement")]
pub struct AttributeAccuracy {
    pub class: Option<f64>,
    pub main: Option<f64>,
    pub second: Option<f64>,
    pub third: Option<f64>,
    pub marking: Option<f64>,
    pub marked: Option<f64>,
    pub variant: Option<f64>,
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
            main: share(|agreement| agreement.main),
            second: share(|agreement| agreement.second),
            third: share(|agreement| agreement.third),
            marking: share(|agreement| agreement.marking),
            marked: share(|agreement| agreement.marked),
            variant: share(|agreement| agreement.variant),
            relation: share(|agreement| agreement.relation),
            background: share(|agreement| agreement.background),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Background, Class, Colour, Look, Marking};

    fn found(class: Class, main: Colour, centre: (f32, f32)) -> Detection {
        let (second, third, marked) = (Colour::White, Colour::Black, Colour::Pink);
        let look = Look { variant: 0, main, second, third, marking: Marking::Plain, marked };
        Detection { probability: 0.9, class, look, centre, embedding: Vec::new() }
    }

    fn described(class: Class, main: Colour) -> ObjectDescription {
        ObjectDescription { main: Some(main), ..ObjectDescription::any(class) }
    }

    fn agreement(
        found: &[Detection],
        objects: Vec<ObjectDescription>,
        relation: Option<Relation>,
    ) -> Agreement {
        let prediction = Prediction { objects: found.into(), background: Background::Sky };
        prediction.agreement(&Description { objects, relation, background: None })
    }

    /// A red mug left of a blue cat.
    fn mug_and_cat() -> [Detection; 2] {
        [found(Class::Cat, Colour::Blue, (0.7, 0.6)), found(Class::Mug, Colour::Red, (0.2, 0.5))]
    }

    #[test]
    fn stated_attributes_that_are_predicted_agree() {
        let objects = vec![described(Class::Mug, Colour::Red), ObjectDescription::any(Class::Cat)];
        let agreement = agreement(&mug_and_cat(), objects, Some(Relation::LeftOf));
        assert_eq!((agreement.class, agreement.main), (Some(true), Some(true)));
        assert_eq!(agreement.relation, Some(true));
        assert_eq!((agreement.marking, agreement.background), (None, None));
    }

    #[test]
    fn exchanged_colours_and_sides_disagree() {
        let objects = vec![described(Class::Mug, Colour::Blue), described(Class::Cat, Colour::Red)];
        let agreement = agreement(&mug_and_cat(), objects, Some(Relation::RightOf));
        assert_eq!((agreement.class, agreement.main), (Some(true), Some(false)));
        assert_eq!(agreement.relation, Some(false));
    }

    #[test]
    fn two_objects_of_one_class_need_two_detections() {
        let objects = vec![described(Class::Mug, Colour::Blue), described(Class::Mug, Colour::Red)];
        let blue = found(Class::Mug, Colour::Blue, (0.8, 0.5));
        let both = [mug_and_cat()[1].clone(), blue];
        let together = agreement(&both, objects.clone(), Some(Relation::RightOf));
        assert_eq!((together.main, together.relation), (Some(true), Some(true)));
        let alone = agreement(&both[..1], objects, None);
        assert_eq!((alone.class, alone.main), (Some(false), Some(false)));
    }

    #[test]
    fn accuracy_counts_the_prompts_that_state_an_attribute() {
        let right = Agreement { class: Some(true), main: Some(true), ..Agreement::default() };
        let wrong = Agreement { class: Some(true), main: Some(false), ..Agreement::default() };
        let silent = Agreement { class: Some(false), ..Agreement::default() };
        let accuracy: AttributeAccuracy = [right, wrong, right, silent].into_iter().collect();
        assert_eq!((accuracy.class, accuracy.relation), (Some(0.75), None));
        assert!((accuracy.main.unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }
}
