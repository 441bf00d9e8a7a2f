//! Drawings of things that stand still.

use super::shape::Ink::{Bare, Body, Dark, Glass, Light, Line, Second, Wood};
use super::shape::{Drawing, Part, spot};

const SPHERE: Part = (Body, "O 0 0 94 94");

/// Variants: the seams.
pub(super) const BALL: Drawing = Drawing {
    variants: [
        &[SPHERE, (Line, "M 2 -94 Q 70 -50 70 0 Q 70 50 2 94 X"), (Second, "O 0 -84 30 10")],
        &[SPHERE, (Second, "M -92 -16 Q 0 26 92 -16 Q 94 0 92 16 Q 0 60 -92 16 Q -94 0 -92 -16 Z")],
        &[SPHERE, (Line, "M 54 -76 Q 14 0 54 76 X"), (Line, "M -94 0 L 94 0")],
    ],
    shared: &[(Light, "O -40 -56 16 9")],
    emblem: spot(0.0, 8.0, 34.0),
    face: None,
};

const BRIM: Part = (Body, "O 0 58 98 28");

/// Variants: top hat, cowboy hat, wizard's hat.
pub(super) const HAT: Drawing = Drawing {
    variants: [
        &[
            BRIM,
            (Body, "M -52 54 L -60 -78 Q 0 -94 60 -78 L 52 54 Q 0 72 -52 54 Z"),
            (Second, "M -54 24 Q 0 40 54 24 L 52 54 Q 0 72 -52 54 Z"),
        ],
        &[
            (Body, "M -98 20 Q -84 60 0 60 Q 84 60 98 20 Q 94 86 0 88 Q -94 86 -98 20 Z"),
            (Body, "M -58 58 Q -64 -70 -28 -66 Q 0 -40 28 -66 Q 64 -70 58 58 Q 0 74 -58 58 Z"),
            (Second, "M -60 28 Q 0 44 60 28 L 58 58 Q 0 74 -58 58 Z"),
        ],
        &[
            BRIM,
            (
                Body,
                "M -58 54 Q -22 -20 -12 -60 Q 0 -98 52 -88 Q 24 -74 30 -50 Q 38 0 58 54 \
                 Q 0 72 -58 54 Z",
            ),
            (Second, "M -48 30 Q 0 44 48 30 L 58 54 Q 0 72 -58 54 Z"),
        ],
    ],
    shared: &[],
    emblem: spot(4.0, -14.0, 28.0),
    face: None,
};

/// Variants: gable, mansard, pointed roof.
pub(super) const HOUSE: Drawing = Drawing {
    variants: [
        &[(Second, "R 34 -84 58 -20 2"), (Second, "M -94 -4 L 0 -90 94 -4 Z")],
        &[(Second, "R -56 -94 -32 -50 2"), (Second, "M -94 -4 L -64 -74 64 -74 94 -4 Z")],
        &[(Second, "M -88 -4 Q -30 -16 0 -98 Q 30 -16 88 -4 Z")],
    ],
    shared: &[
        (Body, "R -76 -6 76 92 3"),
        (Wood, "R -56 30 -18 92 4"),
        (Glass, "R 8 30 54 70 4"),
        (Line, "M 31 30 L 31 70 M 8 50 L 54 50"),
    ],
    emblem: spot(0.0, 6.0, 27.0),
    face: None,
};

/// Variants: round, square and double handle.
pub(super) const MUG: Drawing = Drawing {
    variants: [
        &[(Bare, "O 46 6 48 48 O 46 6 -27 27")],
        &[(Bare, "R 10 -40 94 54 12 M 10 -18 L 10 32 68 32 72 28 72 -14 68 -18 Z")],
        &[(Bare, "O 52 -22 34 30 O 48 34 30 30 O 52 -22 -16 13 O 48 34 -13 13")],
    ],
    shared: &[
        (
            Body,
            "M -82 -62 L 44 -62 Q 44 40 36 74 Q 32 88 -19 88 Q -70 88 -74 74 Q -82 40 -82 -62 Z",
        ),
        (Bare, "O -19 -62 63 20"),
        (Dark, "O -19 -61 50 12"),
    ],
    emblem: spot(-19.0, 18.0, 36.0),
    face: None,
};

/// Variants: broad, thin and round points.
pub(super) const STAR: Drawing = Drawing {
    variants: [
        &[(Body, "M 0 -92 L 27 -31 93 -24 44 20 58 85 0 52 -58 85 -44 20 -93 -24 -27 -31 Z")],
        &[(Body, "M 0 -94 L 21 -23 95 -25 34 17 59 87 0 42 -59 87 -34 17 -95 -25 -21 -23 Z")],
        &[(
            Body,
            "M -10 -76 Q 0 -94 10 -76 L 32 -34 L 79 -26 Q 99 -22 85 -7 L 51 27 L 58 74 \
             Q 61 94 43 85 L 0 64 L -43 85 Q -61 94 -58 74 L -51 27 L -85 -7 Q -99 -22 -79 -26 \
             L -32 -34 Z",
        )],
    ],
    shared: &[],
    emblem: spot(0.0, 6.0, 31.0),
    face: None,
};

const CANOPY: Part = (
    Body,
    "M -98 4 Q -90 -86 0 -88 Q 90 -86 98 4 Q 74 -18 49 4 Q 24 -18 0 4 Q -24 -18 -49 4 \
     Q -74 -18 -98 4 Z",
);

/// Variants: hook, knob and ring at the end of the stick.
pub(super) const UMBRELLA: Drawing = Drawing {
    variants: [
        &[(
            Second,
            "M -5 -20 L 5 -20 5 72 Q 6 98 30 98 Q 52 96 50 72 L 40 72 Q 40 88 29 88 \
             Q 16 88 -5 72 Z",
        )],
        &[(Wood, "R -5 -20 5 84 2"), (Second, "O 0 84 15 15")],
        &[(Wood, "R -5 -20 5 62 2"), (Second, "O 0 74 24 24 O 0 74 -12 12")],
    ],
    shared: &[
        (Dark, "R -4 -100 4 -80 2"),
        CANOPY,
        (Line, "M 0 -88 Q 46 -60 49 4 X"),
        (Line, "M 0 -88 L 0 4"),
    ],
    emblem: spot(0.0, -40.0, 30.0),
    face: None,
};
