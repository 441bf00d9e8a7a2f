//! Attribute accuracy: how much of what prompts ask for the judge finds in the pictures.

use serde::{Deserialize, Serialize};

use super::reading::{Found, Reading};
use crate::world::{Description, Relation, Wanted};

/// Whether a picture shows what a description states, attribute by attribute; `None` where it
/// states nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Every object's class is present.
    pub class: Option<bool>,
    /// Every object whose colour is stated is present in that colour.
    pub colour: Option<bool>,
    /// Likewise for patterns.
    pub pattern: Option<bool>,
    /// Both objects are present and stand as stated.
    pub relation: Option<bool>,
    /// The background is the stated one.
    pub background: Option<bool>,
}

impl Reading {
    /// How far the picture agrees with what a prompt asked for.
    pub fn agreement(&self, wanted: &Description) -> Agreement {
        let objects: Vec<(&Wanted, Option<&Found>)> =
            wanted.objects.iter().map(|object| (object, self.find(object.class))).collect();
        let relation = |stated: Relation| match objects[..] {
            [(_, first), (_, second)] => Some(first.zip(second).is_some_and(|(first, second)| {
                Relation::between(first.centre, second.centre) == stated
            })),
            _ => None,
        };
        Agreement {
            class: all(&objects, |object| Some(object.class), |found| found.class),
            colour: all(&objects, |object| object.colour, |found| found.colour),
            pattern: all(&objects, |object| object.pattern, |found| found.pattern),
            relation: wanted.relation.and_then(relation),
            background: wanted.background.map(|background| background == self.background),
        }
    }
}

/// Whether all that is stated is found.
fn all<T: PartialEq>(
    objects: &[(&Wanted, Option<&Found>)],
    stated: impl Fn(&Wanted) -> Option<T>,
    seen: impl Fn(&Found) -> T,
) -> Option<bool> {
    let answers = objects.iter().filter_map(|(object, found)| {
        let stated = stated(object)?;
        Some(found.is_some_and(|found| seen(found) == stated))
    });
    answers.reduce(|all, one| all && one)
}

/// Shares of pictures that agree in an attribute, among those whose prompts state it; `None` where
/// no prompt does.
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

    fn found(class: Class, colour: Colour, centre: (f32, f32)) -> Found {
        Found { class, probability: 0.9, colour, pattern: Pattern::Plain, centre }
    }

    /// A red mug left of a blue cat in the snow.
    fn reading() -> Reading {
        let mut unlikely = found(Class::Hat, Colour::Green, (0.5, 0.5));
        unlikely.probability = 0.1;
        let mug = found(Class::Mug, Colour::Red, (0.2, 0.5));
        let cat = found(Class::Cat, Colour::Blue, (0.7, 0.6));
        Reading { classes: vec![cat, mug, unlikely], background: Background::Snow }
    }

    fn wanted(class: Class, colour: Colour) -> Wanted {
        Wanted { colour: Some(colour), ..Wanted::any(class) }
    }

    fn asked(objects: Vec<Wanted>, relation: Option<Relation>) -> Agreement {
        reading().agreement(&Description { objects, relation, background: None })
    }

    #[test]
    fn what_is_asked_and_seen_agrees() {
        let objects = vec![wanted(Class::Mug, Colour::Red), Wanted::any(Class::Cat)];
        let agreement = asked(objects, Some(Relation::LeftOf));
        assert_eq!((agreement.class, agreement.colour), (Some(true), Some(true)));
        assert_eq!(agreement.relation, Some(true));
        assert_eq!((agreement.pattern, agreement.background), (None, None));
        let nothing = reading().agreement(&Description::default());
        assert_eq!(nothing, Agreement::default());
    }

    #[test]
    fn exchanged_colours_and_sides_do_not() {
        let objects = vec![wanted(Class::Mug, Colour::Blue), wanted(Class::Cat, Colour::Red)];
        let agreement = asked(objects, Some(Relation::RightOf));
        assert_eq!((agreement.class, agreement.colour), (Some(true), Some(false)));
        assert_eq!(agreement.relation, Some(false));
    }

    #[test]
    fn what_is_missing_has_no_attribute() {
        let objects = vec![wanted(Class::Mug, Colour::Red), wanted(Class::Hat, Colour::Green)];
        let agreement = asked(objects, Some(Relation::LeftOf));
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
