//! Drawings of plants.

use super::shape::Ink::{Body, Leaf, Second, Wood};
use super::shape::{Drawing, Part, spot};

const TRUNK: Part = (Wood, "M -13 10 L 13 10 20 96 -20 96 Z");

/// Variants: a round crown, a fir, a poplar.
pub(super) const TREE: Drawing = Drawing {
    variants: [
        &[TRUNK, (Body, "O -44 -10 44 40 O 44 -10 44 40 O 0 -50 54 46 O 0 4 48 38")],
        &[
            TRUNK,
            (
                Body,
                "M -78 48 L 78 48 34 -8 58 -8 26 -50 42 -50 0 -98 -42 -50 -26 -50 -58 -8 -34 -8 Z",
            ),
        ],
        &[TRUNK, (Body, "M 0 -98 Q 68 -50 60 4 Q 52 56 0 56 Q -52 56 -60 4 Q -68 -50 0 -98 Z")],
    ],
    shared: &[],
    emblem: spot(0.0, -2.0, 30.0),
    face: None,
};

const STEM: Part = (Leaf, "M -5 0 L 5 0 6 98 -4 98 Z");
const LEAVES: Part = (Leaf, "M 2 84 Q 14 44 66 44 Q 58 82 2 84 Z X");

/// Variants: a round blossom, a daisy, a pointed blossom.
pub(super) const FLOWER: Drawing = Drawing {
    variants: [
        &[
            STEM,
            LEAVES,
            (Body, "O 0 -70 30 28 O 38 -44 30 30 O 23 -2 30 30 O -23 -2 30 30 O -38 -44 30 30"),
        ],
        &[
            STEM,
            LEAVES,
            (
                Body,
                "M 0 -32 Q 30 -70 0 -98 Q -30 -70 0 -32 Z M 0 -32 Q 48 -38 47 -79 Q 6 -80 0 -32 \
                 Z M 0 -32 Q 38 -2 66 -32 Q 38 -62 0 -32 Z M 0 -32 Q 6 16 47 15 Q 48 -26 0 -32 Z \
                 M 0 -32 Q -30 6 0 34 Q 30 6 0 -32 Z M 0 -32 Q -48 -26 -47 15 Q -6 16 0 -32 Z \
                 M 0 -32 Q -38 -62 -66 -32 Q -38 -2 0 -32 Z M 0 -32 Q -6 -80 -47 -79 \
                 Q -48 -38 0 -32 Z",
            ),
        ],
        &[
            STEM,
            LEAVES,
            (
                Body,
                "M 0 -98 \
                 L 22 -64 62 -74 50 -34 72 0 30 4 0 36 -30 4 -72 0 -50 -34 -62 -74 -22 -64 Z",
            ),
        ],
    ],
    shared: &[(Second, "O 0 -32 22 22")],
    emblem: spot(0.0, -32.0, 27.0),
    face: None,
};
