//! The classes of objects.

use serde::{Deserialize, Serialize};

/// A class of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    Ball,
    Bird,
    Boat,
    Butterfly,
    Car,
    Cat,
    Fish,
    Flower,
    Hat,
    House,
    Mug,
    Robot,
    Rocket,
    Star,
    Tree,
    Umbrella,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::Ball,
        Self::Bird,
        Self::Boat,
        Self::Butterfly,
        Self::Car,
        Self::Cat,
        Self::Fish,
        Self::Flower,
        Self::Hat,
        Self::House,
        Self::Mug,
        Self::Robot,
        Self::Rocket,
        Self::Star,
        Self::Tree,
        Self::Umbrella,
    ];

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ball => "ball",
            Self::Bird => "bird",
            Self::Boat => "boat",
            Self::Butterfly => "butterfly",
            Self::Car => "car",
            Self::Cat => "cat",
            Self::Fish => "fish",
            Self::Flower => "flower",
            Self::Hat => "hat",
            Self::House => "house",
            Self::Mug => "mug",
            Self::Robot => "robot",
            Self::Rocket => "rocket",
            Self::Star => "star",
            Self::Tree => "tree",
            Self::Umbrella => "umbrella",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_class_has_its_own_word() {
        let words: HashSet<_> = Class::ALL.map(Class::word).into();
        assert_eq!(words.len(), Class::ALL.len());
    }
}
