//! Drawings of things that stand still.

use super::shape::Role::{Main, Second, Third};
use super::shape::{Drawing, Part, area};

const WALL: Part = (Main, "R -78 -10 78 94 0");
const DOOR: Part = (Third, "R -66 34 -24 94 0");

/// Variants: gabled, flat and domed roof.
pub(super) const HOUSE: Drawing = Drawing {
    variants: [
        &[WALL, DOOR, (Second, "M -100 -6 L 0 -94 100 -6 Z")],
        &[WALL, DOOR, (Second, "R -96 -52 96 -6 0")],
        &[WALL, DOOR, (Second, "M -90 -6 Q -84 -94 0 -94 Q 84 -94 90 -6 Z")],
    ],
    area: area(-14.0, -6.0, 78.0, 94.0),
    mirrored: false,
};

const CUP: Part = (Main, "M -88 -60 L 56 -60 50 76 Q 48 92 30 92 L -62 92 Q -80 92 -82 76 Z");
const RIM: Part = (Third, "O -16 -60 74 24");

/// Variants: round, square and double handle.
pub(super) const MUG: Drawing = Drawing {
    variants: [
        &[(Second, "O 56 10 44 48 O 56 10 -20 24"), CUP, RIM],
        &[(Second, "M 40 -36 L 100 -36 100 56 40 56 Z M 40 -10 L 40 30 74 30 74 -10 Z"), CUP, RIM],
        &[(Second, "O 60 -18 36 30 O 58 40 34 28"), CUP, RIM],
    ],
    area: area(-84.0, -36.0, 52.0, 92.0),
    mirrored: false,
};

/// Variants: domed, flat-topped and round cap.
pub(super) const MUSHROOM: Drawing = Drawing {
    variants: [
        &[STEM, (Main, "M -98 14 Q -94 -92 0 -94 Q 94 -92 98 14 Z")],
        &[STEM, (Main, "M -98 14 L -58 -72 58 -72 98 14 Z")],
        &[STEM, (Main, "O 0 -34 98 50")],
    ],
    area: area(-78.0, -70.0, 78.0, 8.0),
    mirrored: false,
};

const STEM: Part = (Second, "M -26 -10 L 26 -10 38 98 -38 98 Z");

/// Variants: round, conical and cloud-shaped crown.
pub(super) const TREE: Drawing = Drawing {
    variants: [
        &[TRUNK, (Main, "O 0 -26 80 72")],
        &[TRUNK, (Main, "M 0 -100 L 84 42 -84 42 Z")],
        &[TRUNK, (Main, "O -46 0 48 44 O 46 0 48 44 O 0 -48 54 50")],
    ],
    area: area(-72.0, -76.0, 72.0, 40.0),
    mirrored: false,
};

const TRUNK: Part = (Second, "R -20 20 20 98 2");
