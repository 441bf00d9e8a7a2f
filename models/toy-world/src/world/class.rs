//! The classes of objects, and the words for their parts.

use serde::{Deserialize, Serialize};

/// A class of objects. Each has a silhouette of its own at 64 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    Bird,
    Boat,
    Butterfly,
    Car,
    Cat,
    Fish,
    House,
    Mug,
    Mushroom,
    Robot,
    Rocket,
    Tree,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 12] = [
        Self::Bird,
        Self::Boat,
        Self::Butterfly,
        Self::Car,
        Self::Cat,
        Self::Fish,
        Self::House,
        Self::Mug,
        Self::Mushroom,
        Self::Robot,
        Self::Rocket,
        Self::Tree,
    ];

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Boat => "boat",
            Self::Butterfly => "butterfly",
            Self::Car => "car",
            Self::Cat => "cat",
            Self::Fish => "fish",
            Self::House => "house",
            Self::Mug => "mug",
            Self::Mushroom => "mushroom",
            Self::Robot => "robot",
            Self::Rocket => "rocket",
            Self::Tree => "tree",
        }
    }

    /// The words for its second part, and for its third part if it has one. The first part, which gives
    /// the object its colour and bears the marking, has no word.
    pub fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Bird => ("head", Some("tail")),
            Self::Boat => ("sail", Some("flag")),
            Self::Butterfly => ("tips", None),
            Self::Car => ("roof", Some("wheels")),
            Self::Cat => ("head", Some("tail")),
            Self::Fish => ("tail", None),
            Self::House => ("roof", Some("door")),
            Self::Mug => ("handle", Some("rim")),
            Self::Mushroom => ("stem", None),
            Self::Robot => ("head", Some("legs")),
            Self::Rocket => ("fins", Some("nose")),
            Self::Tree => ("trunk", None),
        }
    }

    /// The words for its three variants, the most common first: what the variants differ in.
    pub fn variants(self) -> [&'static str; 3] {
        match self {
            Self::Bird => ["crested", "round", "long"],
            Self::Boat => ["triangular", "square", "steam"],
            Self::Butterfly => ["round", "pointed", "narrow"],
            Self::Car => ["low", "boxy", "open"],
            Self::Cat => ["pointed", "round", "floppy"],
            Self::Fish => ["forked", "fan", "crescent"],
            Self::House => ["gabled", "flat", "domed"],
            Self::Mug => ["round", "square", "tall"],
            Self::Mushroom => ["domed", "flat", "round"],
            Self::Robot => ["single", "double", "eared"],
            Self::Rocket => ["slim", "fat", "stepped"],
            Self::Tree => ["round", "conical", "cloudy"],
        }
    }
}
