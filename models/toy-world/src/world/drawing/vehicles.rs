//! Drawings of vehicles.

use super::shape::Ink::{Beak, Body, Dark, Glass, Light, Line, Second, Wood};
use super::shape::{Drawing, spot};

/// From the side, driving right. Variants: saloon, van, pickup.
pub(super) const CAR: Drawing = Drawing {
    variants: [
        &[
            (Body, "M -64 0 Q -52 -50 -26 -52 L 16 -52 Q 42 -48 58 0 Z"),
            (
                Glass,
                "M -44 -8 Q -36 -38 -22 -40 L -8 -40 -8 -8 Z M 4 -8 L 4 -40 14 -40 \
                 Q 32 -36 42 -8 Z",
            ),
        ],
        &[
            (Body, "M -92 0 L -86 -62 Q -84 -72 -72 -72 L 36 -72 Q 50 -70 66 0 Z"),
            (
                Glass,
                "R -72 -56 -36 -14 4 R -24 -56 8 -14 4 M 20 -56 L 34 -56 Q 42 -50 50 -14 \
                 L 20 -14 Z",
            ),
        ],
        &[
            (Body, "M -8 0 L -4 -54 34 -54 Q 48 -50 60 0 Z"),
            (Glass, "M 6 -8 L 8 -42 30 -42 Q 40 -36 46 -8 Z"),
        ],
    ],
    shared: &[
        (
            Body,
            "M -97 20 L -97 0 Q -96 -8 -86 -8 L 58 -8 Q 94 -4 97 20 L 97 34 Q 97 44 88 44 \
             L -88 44 Q -97 44 -97 34 Z",
        ),
        (Second, "R -98 28 98 44 5"),
        (Light, "O 86 12 9 9"),
        (Dark, "O 52 44 25 25 X"),
        (Light, "O 52 44 10 10 X"),
    ],
    emblem: spot(0.0, 12.0, 25.0),
    face: None,
};

/// From the side. Variants: sloop, square sail, steamer.
pub(super) const BOAT: Drawing = Drawing {
    variants: [
        &[
            (Wood, "R -6 -98 4 40 2"),
            (Body, "M 10 -90 Q 76 -40 80 20 L 10 20 Z"),
            (Second, "M -12 -74 L -12 20 -72 20 Z"),
        ],
        &[
            (Wood, "R -5 -98 5 40 2"),
            (Body, "M -62 -78 Q 0 -68 62 -78 Q 84 -30 66 18 Q 0 4 -66 18 Q -48 -30 -62 -78 Z"),
            (Second, "M 4 -98 L 40 -90 4 -82 Z"),
        ],
        &[
            (Second, "R 4 -86 34 -30 3"),
            (Dark, "R 4 -86 34 -70 3"),
            (Light, "R -44 -32 58 36 5"),
            (Glass, "O -20 2 10 10 O 8 2 10 10 O 36 2 10 10"),
        ],
    ],
    shared: &[(Body, "M -98 28 Q 0 40 98 22 Q 84 84 52 86 L -56 86 Q -88 84 -98 28 Z")],
    emblem: spot(0.0, 58.0, 26.0),
    face: None,
};

/// Standing. Variants: the fins.
pub(super) const ROCKET: Drawing = Drawing {
    variants: [
        &[(Second, "M 24 10 Q 78 30 74 84 L 24 56 Z X")],
        &[(Second, "M 24 26 L 86 54 86 78 24 58 Z X"), (Second, "M 30 -30 L 62 -6 62 10 30 0 Z X")],
        &[(Second, "R 38 2 66 78 12 X")],
    ],
    shared: &[
        (Beak, "M -22 54 Q -30 80 0 98 Q 30 80 22 54 Z"),
        (Body, "M 0 -98 Q 54 -44 40 60 L -40 60 Q -54 -44 0 -98 Z"),
        (Second, "M 0 -98 Q 24 -74 33 -50 Q 0 -40 -33 -50 Q -24 -74 0 -98 Z"),
        (Glass, "O 0 -20 17 17"),
        (Line, "M -38 46 L 38 46"),
    ],
    emblem: spot(0.0, 24.0, 25.0),
    face: None,
};
