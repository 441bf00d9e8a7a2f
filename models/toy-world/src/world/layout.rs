//! Where objects are placed: each wholly in the image, and without overlap.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::world::object::Object;
use crate::world::pose::{Bounds, Pose};
use crate::world::relation::Relation;

/// Free space at the image's edges, in units of its side.
const MARGIN: f32 = 0.015;

/// Half the free space between two objects, in the same unit.
const GAP: f32 = 0.005;

/// Free space at the edges parallel to a relation's axis. It keeps two objects at similar heights,
/// or at similar horizontal positions, so that their relation is unambiguous.
const INSET: f32 = 0.16;

/// The largest rotation, in degrees.
const TURN: f32 = 12.0;

/// The cell of each object: the whole image for one, or the halves along the relation's axis for
/// two.
pub(crate) fn cells(relation: Option<Relation>) -> Vec<Bounds> {
    let Some(relation) = relation else { return vec![Bounds::IMAGE.grown(-MARGIN)] };
    let (near, far) = ((MARGIN, 0.5 - GAP), (0.5 + GAP, 1.0 - MARGIN));
    let across = (INSET, 1.0 - INSET);
    let cell = |(left, right), (top, bottom)| Bounds { left, top, right, bottom };
    match relation {
        Relation::LeftOf => vec![cell(near, across), cell(far, across)],
        Relation::RightOf => vec![cell(far, across), cell(near, across)],
        Relation::Above => vec![cell(across, near), cell(across, far)],
        Relation::Below => vec![cell(across, far), cell(across, near)],
    }
}

/// A pose with a random rotation, for an object that [`place`] moves and scales.
pub(crate) fn rotated(rng: &mut ChaCha8Rng) -> Pose {
    let angle = rng.random_range(-TURN..TURN);
    Pose { x: 0.5, y: 0.5, scale: 0.25, angle, mirrored: rng.random_bool(0.5) }
}

/// Scales an object so that its longer side is `side`, or less where the cell is too small, and
/// moves it to a random position in the cell.
pub(crate) fn place(object: &mut Object, side: f32, cell: &Bounds, rng: &mut ChaCha8Rng) {
    let extent = object.bounds();
    let target = side / extent.width().max(extent.height());
    let fitting = (cell.width() / extent.width()).min(cell.height() / extent.height());
    object.pose.scale *= target.min(fitting * 0.97);

    let extent = object.bounds();
    let mut shift = |from: f32, to: f32| from + (to - from) * rng.random_range(0.0..=1.0);
    object.pose.x += shift(cell.left - extent.left, cell.right - extent.right);
    object.pose.y += shift(cell.top - extent.top, cell.bottom - extent.bottom);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::individual::Individual;
    use seqlora_core::rng::Seed;

    #[test]
    fn cells_have_their_relation() {
        for relation in Relation::ALL {
            let cells = cells(Some(relation));
            assert!(relation.holds(&cells[0], &cells[1]), "{relation:?}");
            assert_eq!(Relation::between(cells[0].centre(), cells[1].centre()), relation);
            assert_eq!(cells[0].overlap(&cells[1]), 0.0);
        }
    }

    #[test]
    fn a_placed_object_lies_in_its_cell() {
        let mut rng = Seed::new(0).at(0);
        for index in 0..64 {
            let pose = rotated(&mut rng);
            let mut object = Individual::of(index).object(pose);
            let cell = cells(Some(Relation::LeftOf))[index % 2];
            place(&mut object, 0.2 + index as f32 * 0.01, &cell, &mut rng);
            assert!(cell.grown(1e-4).contains(&object.bounds()), "{index}");
        }
    }
}
