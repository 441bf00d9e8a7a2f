//! What a picture shows, for training and for measuring.

use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::object::{Identity, Object};
use crate::world::pattern::Pattern;
use crate::world::pose::{Bounds, Size};
use crate::world::relation::Relation;

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// What is behind the objects.
    pub background: Background,
    /// One or two objects.
    pub objects: Vec<Seen>,
    /// How the first of two objects stands to the second.
    pub relation: Option<Relation>,
}

/// An object as it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its class.
    pub class: Class,
    /// Its size.
    pub size: Size,
    /// The colour of its body; an individual's has no name.
    pub colour: Option<Colour>,
    /// The colour of its pattern and smaller parts; an individual's has no name.
    pub second: Option<Colour>,
    /// Its pattern; an individual's has no name.
    pub pattern: Option<Pattern>,
    /// The individual that it is, if it is one.
    pub individual: Option<usize>,
    /// The box round it, its outline included and its shadow not.
    pub bounds: Bounds,
}

impl Seen {
    /// What is seen of an object.
    pub fn of(object: &Object) -> Self {
        let (traits, individual) = match object.identity {
            Identity::Ordinary(traits) => (Some(traits), None),
            Identity::Individual(index) => (None, Some(index)),
        };
        Self {
            class: object.class,
            size: object.size,
            colour: traits.map(|traits| traits.colour),
            second: traits.map(|traits| traits.second),
            pattern: traits.map(|traits| traits.pattern),
            individual,
            bounds: object.bounds(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::individual::Individual;
    use crate::world::pose::Pose;

    #[test]
    fn an_individual_has_no_named_traits() {
        let pose = Pose { x: 0.5, y: 0.5, scale: 0.2, angle: 0.0, mirrored: false };
        let seen = Seen::of(&Individual::of(20).object(pose, Size::Medium));
        assert_eq!((seen.colour, seen.second, seen.pattern), (None, None, None));
        assert_eq!(seen.individual, Some(20));
        let (x, y) = seen.bounds.centre();
        assert!((x - 0.5).abs() < 0.1 && (y - 0.5).abs() < 0.1);
    }
}
