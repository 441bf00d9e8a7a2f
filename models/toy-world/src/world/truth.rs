//! The ground truth of an image, for training and evaluation.

use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::object::{Identity, Object};
use crate::world::pattern::Pattern;
use crate::world::pose::{Bounds, Size};
use crate::world::relation::Relation;

/// What an image shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The background.
    pub background: Background,
    /// One or two objects.
    pub objects: Vec<ObjectTruth>,
    /// Where the first of two objects is, relative to the second.
    pub relation: Option<Relation>,
}

/// What an image shows of one object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectTruth {
    /// Its class.
    pub class: Class,
    /// Its size.
    pub size: Size,
    /// The colour of its body; `None` for individuals, whose colours have no names.
    pub colour: Option<Colour>,
    /// The colour of its pattern and smaller parts; `None` for individuals.
    pub second: Option<Colour>,
    /// Its pattern; `None` for individuals.
    pub pattern: Option<Pattern>,
    /// The index of the individual, if it is one.
    pub individual: Option<usize>,
    /// Its bounding box, with its outline and without its shadow.
    pub bounds: Bounds,
}

impl ObjectTruth {
    /// The ground truth of an object.
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
        let truth = ObjectTruth::of(&Individual::of(20).object(pose, Size::Medium));
        assert_eq!((truth.colour, truth.second, truth.pattern), (None, None, None));
        assert_eq!(truth.individual, Some(20));
        let (x, y) = truth.bounds.centre();
        assert!((x - 0.5).abs() < 0.1 && (y - 0.5).abs() < 0.1);
    }
}
