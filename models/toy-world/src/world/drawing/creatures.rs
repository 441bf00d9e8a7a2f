//! Drawings of creatures with faces, and of the butterfly.

use super::shape::Ink::{Bare, Beak, Body, Dark, Light, Line, Second};
use super::shape::{Drawing, FaceSpot, spot};

/// From the side, looking right. Variants: tail and crest.
pub(super) const BIRD: Drawing = Drawing {
    variants: [
        &[(Second, "M -34 -6 L -98 -38 -96 26 -34 34 Z")],
        &[
            (Second, "M -34 -6 L -98 -62 -84 -24 -98 -6 -82 12 -94 38 -34 34 Z"),
            (Second, "M 22 -66 Q 14 -98 -6 -96 Q 14 -84 6 -50 Z"),
        ],
        &[
            (Second, "M -30 0 Q -98 -20 -96 72 Q -70 30 -24 44 Z"),
            (Second, "M 34 -70 Q 20 -98 36 -98 Q 38 -84 46 -98 Q 58 -96 56 -70 Z"),
        ],
    ],
    shared: &[
        (Line, "M -2 60 L -4 94 M 22 60 L 24 94 M -18 94 L 8 94 M 12 94 L 38 94"),
        (Beak, "M 66 -58 L 98 -38 66 -26 Z"),
        (
            Body,
            "M -58 2 Q -40 -40 10 -34 Q 62 -28 58 18 Q 52 70 -2 70 Q -56 66 -58 2 Z O 42 -42 36 36",
        ),
        (Second, "M -44 2 Q -4 -16 16 14 Q 6 44 -38 40 Q -22 28 -44 2 Z"),
    ],
    emblem: spot(20.0, 32.0, 26.0),
    face: Some(FaceSpot { eyes: &[spot(50.0, -48.0, 11.0)], mouth: None }),
};

/// From above, wings spread. Variants: the wings.
pub(super) const BUTTERFLY: Drawing = Drawing {
    variants: [
        &[
            (Body, "M 4 0 Q 20 -86 70 -84 Q 108 -70 92 -24 Q 80 8 4 10 Z X"),
            (Body, "M 4 6 Q 70 0 76 40 Q 76 84 46 84 Q 20 82 4 20 Z X"),
        ],
        &[
            (Body, "M 4 6 L 30 -60 94 -92 96 -20 76 10 Z X"),
            (Body, "M 4 6 L 78 16 66 60 88 92 44 78 Z X"),
        ],
        &[(Body, "O 52 -40 46 46 X"), (Body, "O 40 40 36 38 X")],
    ],
    shared: &[
        (Line, "M 2 -50 Q 8 -80 28 -94 X"),
        (Second, "O 62 -42 16 16 X"),
        (Second, "O 44 44 12 12 X"),
        (Dark, "R -11 -56 11 70 11"),
    ],
    emblem: spot(0.0, 4.0, 27.0),
    face: None,
};

/// Sitting, from the front. Variants: ears and tail.
pub(super) const CAT: Drawing = Drawing {
    variants: [
        &[
            (Body, "M 34 86 Q 98 88 94 30 Q 90 6 74 14 Q 84 62 34 64 Z"),
            (Body, "M 58 -30 L 54 -98 6 -68 Z X"),
            (Second, "M 48 -50 L 46 -80 24 -66 Z X"),
        ],
        &[
            (
                Body,
                "M 34 90 Q 84 76 66 36 Q 60 10 82 2 Q 96 -2 94 -16 Q 62 -22 48 14 Q 42 50 34 64 Z",
            ),
            (Body, "M 62 -34 Q 72 -66 84 -90 Q 44 -86 14 -62 Z X"),
            (Second, "M 56 -50 Q 62 -66 70 -80 Q 48 -76 32 -64 Z X"),
        ],
        &[
            (Body, "M 30 90 L 70 90 Q 98 62 96 14 L 72 14 Q 74 54 34 70 Z"),
            (Second, "R 70 4 98 28 8"),
            (Body, "M 60 -30 L 64 -92 Q 58 -98 50 -92 L 4 -66 Z X"),
            (Second, "M 63 -74 L 64 -92 Q 58 -98 50 -92 L 30 -80 Z X"),
        ],
    ],
    shared: &[
        (Body, "M -46 92 Q -62 14 -24 -8 L 24 -8 Q 62 14 46 92 Z"),
        (Light, "O 22 88 18 10 X"),
        (Body, "O 0 -34 62 46"),
        (Line, "M 40 -18 L 82 -24 M 40 -10 L 80 -4 X"),
        (Second, "M -8 -24 L 8 -24 0 -14 Z"),
    ],
    emblem: spot(0.0, 46.0, 27.0),
    face: Some(FaceSpot {
        eyes: &[spot(-26.0, -42.0, 13.0), spot(26.0, -42.0, 13.0)],
        mouth: Some(spot(0.0, -6.0, 14.0)),
    }),
};

/// From the side, looking right. Variants: tail and fins.
pub(super) const FISH: Drawing = Drawing {
    variants: [
        &[
            (Second, "M -44 0 L -98 -50 Q -82 0 -98 50 Z"),
            (Second, "M -30 -36 Q 6 -86 48 -40 Z M -10 44 Q 10 74 34 44 Z"),
        ],
        &[
            (Second, "M -44 0 Q -64 -56 -92 -46 Q -104 0 -92 46 Q -64 56 -44 0 Z"),
            (Second, "M -34 -34 L -22 -78 -2 -54 12 -82 28 -54 46 -74 54 -36 Z"),
        ],
        &[
            (Second, "M -44 0 Q -70 -60 -98 -78 Q -84 -20 -72 0 Q -84 20 -98 78 Q -70 60 -44 0 Z"),
            (
                Second,
                "M 20 -40 Q 0 -70 -40 -88 Q -40 -56 -30 -34 Z M 20 40 Q 0 70 -40 88 \
                 Q -40 56 -30 34 Z",
            ),
        ],
    ],
    shared: &[
        (Body, "M -66 0 Q -30 -56 30 -54 Q 84 -50 98 4 Q 84 50 30 54 Q -30 56 -66 0 Z"),
        (Line, "M 38 -46 Q 54 -4 38 46"),
        (Line, "M 92 16 Q 78 24 72 14"),
    ],
    emblem: spot(0.0, 2.0, 30.0),
    face: Some(FaceSpot { eyes: &[spot(66.0, -14.0, 14.0)], mouth: None }),
};

/// Standing, from the front. Variants: antennae and arms.
pub(super) const ROBOT: Drawing = Drawing {
    variants: [
        &[(Line, "M 0 -60 L 0 -88"), (Second, "O 0 -88 10 10"), (Second, "R 48 0 72 48 10 X")],
        &[
            (Line, "M 22 -60 L 38 -90 X"),
            (Second, "O 38 -90 8 8 X"),
            (Second, "M 46 4 L 92 -30 98 -12 56 28 Z X"),
        ],
        &[(Second, "R -22 -96 22 -70 8"), (Second, "M 46 2 L 86 30 80 60 62 54 66 40 46 28 Z X")],
    ],
    shared: &[
        (Dark, "R 40 -54 56 -34 4 X"),
        (Second, "R 8 60 34 96 5 X"),
        (Dark, "R -14 -24 14 0 2"),
        (Bare, "R -46 -78 46 -16 13"),
        (Light, "R -36 -66 36 -26 9"),
        (Body, "R -52 -6 52 72 12"),
    ],
    emblem: spot(0.0, 32.0, 28.0),
    face: Some(FaceSpot {
        eyes: &[spot(-18.0, -51.0, 11.0), spot(18.0, -51.0, 11.0)],
        mouth: Some(spot(0.0, -35.0, 14.0)),
    }),
};
