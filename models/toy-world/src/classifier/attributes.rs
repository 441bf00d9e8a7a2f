//! The attributes of an object's look, each with its number of values.

use crate::world::{Class, Colour, Look, Marking, ObjectDescription};

/// An attribute of an object that a classifier predicts and captions have words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The class.
    Class,
    /// The colour of the main part.
    Main,
    /// The colour of the second part.
    Second,
    /// The colour of the third part.
    Third,
    /// The marking.
    Marking,
    /// The colour of the marking.
    Marked,
    /// The variant.
    Variant,
}

impl Attribute {
    /// All attributes.
    pub const ALL: [Self; 7] = [
        Self::Class,
        Self::Main,
        Self::Second,
        Self::Third,
        Self::Marking,
        Self::Marked,
        Self::Variant,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Main => "main colour",
            Self::Second => "second colour",
            Self::Third => "third colour",
            Self::Marking => "marking",
            Self::Marked => "marking's colour",
            Self::Variant => "variant",
        }
    }

    /// How many values it has.
    pub fn count(self) -> usize {
        match self {
            Self::Class => Class::ALL.len(),
            Self::Main | Self::Second | Self::Third | Self::Marked => Colour::ALL.len(),
            Self::Marking => Marking::ALL.len(),
            Self::Variant => 3,
        }
    }

    /// The number of its value on an object; `None` where the object does not have it: the third part of
    /// a class without one, the colour of no marking.
    pub fn value(self, class: Class, look: &Look) -> Option<usize> {
        match self {
            Self::Class => Some(number_of(&Class::ALL, class)),
            Self::Main => Some(number_of(&Colour::ALL, look.main)),
            Self::Second => Some(number_of(&Colour::ALL, look.second)),
            Self::Third => class.parts().1.map(|_| number_of(&Colour::ALL, look.third)),
            Self::Marking => Some(number_of(&Marking::ALL, look.marking)),
            Self::Marked if look.marking == Marking::Plain => None,
            Self::Marked => Some(number_of(&Colour::ALL, look.marked)),
            Self::Variant => Some(look.variant),
        }
    }

    /// The number of all values of all attributes.
    pub fn total() -> usize {
        Self::ALL.into_iter().map(Self::count).sum()
    }

    /// Where its values begin among those of all attributes.
    pub fn offset(self) -> usize {
        let before = Self::ALL.into_iter().take_while(|attribute| *attribute != self);
        before.map(Self::count).sum()
    }
}

impl ObjectDescription {
    /// The number of the value that is stated for an attribute.
    pub(crate) fn value(&self, attribute: Attribute) -> Option<usize> {
        let colour = |colour: Option<Colour>| colour.map(|c| number_of(&Colour::ALL, c));
        match attribute {
            Attribute::Class => Some(number_of(&Class::ALL, self.class)),
            Attribute::Main => colour(self.main),
            Attribute::Second => colour(self.second),
            Attribute::Third => colour(self.third),
            Attribute::Marking => self.marking.map(|m| number_of(&Marking::ALL, m)),
            Attribute::Marked => colour(self.marked),
            Attribute::Variant => self.variant,
        }
    }
}

/// The place of a value in the table of all.
pub(crate) fn number_of<T: PartialEq>(all: &[T], value: T) -> usize {
    all.iter().position(|other| *other == value).expect("the table is complete")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Scene, SceneOptions, Seed};

    #[test]
    fn descriptions_and_looks_give_the_same_values() {
        for index in 0..200 {
            let scene = Scene::random(&Seed::new(0), index, &SceneOptions::default());
            for (object, stated) in scene.objects.iter().zip(scene.description().objects) {
                for attribute in Attribute::ALL {
                    let value = attribute.value(object.class, &object.look);
                    assert_eq!(stated.value(attribute), value, "{attribute:?}");
                    assert!(value.is_none_or(|value| value < attribute.count()));
                }
            }
        }
        assert_eq!(Attribute::total(), 12 + 4 * 10 + 5 + 3);
    }
}
