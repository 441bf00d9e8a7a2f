//! Spatial relations between two objects.

use serde::{Deserialize, Serialize};

use crate::world::pose::Bounds;

/// Where the first of two objects is in the image, relative to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    LeftOf,
    RightOf,
    Above,
    Below,
}

impl Relation {
    /// All relations.
    pub const ALL: [Self; 4] = [Self::LeftOf, Self::RightOf, Self::Above, Self::Below];

    /// The phrases of captions, the most common one first.
    pub fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::LeftOf => &["left of", "to the left of", "on the left of"],
            Self::RightOf => &["right of", "to the right of", "on the right of"],
            Self::Above => &["above", "over"],
            Self::Below => &["below", "under", "underneath"],
        }
    }

    /// The relation of the second object to the first.
    pub fn reversed(self) -> Self {
        match self {
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }

    /// Whether it represents its pair of opposites: left-of and above do, right-of and below do
    /// not.
    pub fn is_canonical(self) -> bool {
        matches!(self, Self::LeftOf | Self::Above)
    }

    /// The relation of two points, along the axis on which they are further apart.
    pub fn between(first: (f32, f32), second: (f32, f32)) -> Self {
        let (dx, dy) = (second.0 - first.0, second.1 - first.1);
        match (dx.abs() > dy.abs(), dx > 0.0, dy > 0.0) {
            (true, true, _) => Self::LeftOf,
            (true, false, _) => Self::RightOf,
            (false, _, true) => Self::Above,
            (false, _, false) => Self::Below,
        }
    }

    /// Whether two boxes are in this relation: each lies wholly on its side of the other's centre,
    /// and their centres are further apart along the relation's axis than across it.
    pub fn holds(self, first: &Bounds, second: &Bounds) -> bool {
        let ((x1, y1), (x2, y2)) = (first.centre(), second.centre());
        let (dx, dy) = (x2 - x1, y2 - y1);
        match self {
            Self::LeftOf => dx > dy.abs() && first.right < x2 && x1 < second.left,
            Self::Above => dy > dx.abs() && first.bottom < y2 && y1 < second.top,
            Self::RightOf | Self::Below => self.reversed().holds(second, first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_have_one_relation_and_its_reverse() {
        let at = |left: f32, top: f32| Bounds { left, top, right: left + 0.3, bottom: top + 0.3 };
        let (a, b) = (at(0.05, 0.3), at(0.6, 0.4));
        let holding = |a: Bounds, b: Bounds| Relation::ALL.into_iter().find(|r| r.holds(&a, &b));
        assert_eq!(holding(a, b), Some(Relation::LeftOf));
        assert_eq!(holding(b, a), Some(Relation::RightOf));
        assert_eq!(holding(at(0.3, 0.6), at(0.35, 0.1)), Some(Relation::Below));
        assert_eq!(holding(a, at(0.1, 0.35)), None);
    }

    #[test]
    fn reversing_twice_changes_nothing() {
        for relation in Relation::ALL {
            assert_eq!(relation.reversed().reversed(), relation);
            assert_ne!(relation.is_canonical(), relation.reversed().is_canonical());
        }
    }
}
