//! Drawings of animals and of what looks back.

use super::shape::Role::{Dark, Light, Main, Second, Third};
use super::shape::{Drawing, Part, area};

const BIRD_BODY: Part = (Main, "O -8 22 72 60");
const BIRD_EYE: Part = (Dark, "O 56 -48 11 11");
const BIRD_LEGS: [Part; 2] = [(Dark, "R -34 72 -16 100 3"), (Dark, "R 6 72 24 100 3")];

/// Variants: pointed crest and tail, round head, long tail.
pub(super) const BIRD: Drawing = Drawing {
    variants: [
        &[
            BIRD_LEGS[0],
            BIRD_LEGS[1],
            (Third, "M -58 6 L -100 -50 -100 46 Z"),
            BIRD_BODY,
            (Second, "M 10 -58 L 22 -100 54 -78 Z O 46 -40 40 38"),
            (Dark, "M 78 -52 L 100 -36 78 -24 Z"),
            BIRD_EYE,
        ],
        &[
            BIRD_LEGS[0],
            BIRD_LEGS[1],
            (Third, "O -72 4 28 26"),
            BIRD_BODY,
            (Second, "O 44 -42 48 44"),
            (Dark, "M 84 -50 L 100 -34 84 -22 Z"),
            BIRD_EYE,
        ],
        &[
            BIRD_LEGS[0],
            BIRD_LEGS[1],
            (Third, "M -52 -4 L -100 16 -100 54 -48 44 Z"),
            BIRD_BODY,
            (Second, "M 22 -90 L 74 -76 84 -20 40 6 14 -30 Z"),
            (Dark, "M 76 -58 L 100 -46 82 -26 Z"),
            BIRD_EYE,
        ],
    ],
    area: area(-72.0, -26.0, 52.0, 76.0),
    mirrored: false,
};

const BUTTERFLY_BODY: [Part; 2] = [(Dark, "R -10 -60 10 74 10"), (Dark, "O 0 -66 17 17")];

/// Variants: round, pointed and narrow wings. The second part is the pair of lower wings.
pub(super) const BUTTERFLY: Drawing = Drawing {
    variants: [
        &[
            (Second, "O 44 48 42 40 X"),
            (Main, "O 52 -30 46 52 X"),
            BUTTERFLY_BODY[0],
            BUTTERFLY_BODY[1],
        ],
        &[
            (Second, "M 4 14 L 70 20 54 96 Z X"),
            (Main, "M 4 20 L 26 -40 100 -92 92 20 Z X"),
            BUTTERFLY_BODY[0],
            BUTTERFLY_BODY[1],
        ],
        &[
            (Second, "M 4 18 Q 84 16 66 96 Q 30 92 4 18 Z X"),
            (Main, "M 4 18 Q 10 -90 76 -96 Q 112 -60 84 6 Q 50 34 4 18 Z X"),
            BUTTERFLY_BODY[0],
            BUTTERFLY_BODY[1],
        ],
    ],
    area: area(14.0, -74.0, 92.0, 12.0),
    mirrored: true,
};

const CAT_BODY: Part = (Main, "R -58 0 58 98 40");
const CAT_FACE: [Part; 2] =
    [(Dark, "O 22 -38 10 13 O -22 -38 10 13"), (Dark, "M -12 -20 L 12 -20 0 -6 Z")];
const CAT_HEAD: Part = (Second, "O 0 -34 58 46");

/// Variants: pointed, round and hanging ears.
pub(super) const CAT: Drawing = Drawing {
    variants: [
        &[
            (Third, "M 44 92 L 98 92 98 20 74 20 74 66 44 66 Z"),
            CAT_BODY,
            (Second, "M 58 -44 L 56 -100 8 -72 Z X"),
            CAT_HEAD,
            CAT_FACE[0],
            CAT_FACE[1],
        ],
        &[
            (Third, "O 74 66 26 26"),
            CAT_BODY,
            (Second, "O 44 -72 25 25 X"),
            CAT_HEAD,
            CAT_FACE[0],
            CAT_FACE[1],
        ],
        &[
            (Third, "M 40 92 L 100 72 86 42 40 62 Z"),
            CAT_BODY,
            CAT_HEAD,
            (Second, "M 34 -76 Q 88 -74 84 6 Q 56 20 50 -20 Z X"),
            CAT_FACE[0],
            CAT_FACE[1],
        ],
    ],
    area: area(-54.0, 14.0, 54.0, 96.0),
    mirrored: false,
};

const FISH_BODY: Part = (Main, "O -18 0 80 56");
const FISH_EYE: [Part; 2] = [(Light, "O -64 -12 19 19"), (Dark, "O -66 -12 10 10")];

/// Variants: forked, fan-shaped and crescent tail.
pub(super) const FISH: Drawing = Drawing {
    variants: [
        &[
            (Second, "M 40 0 L 100 -64 82 0 100 64 Z M -40 -40 L 10 -90 36 -34 Z"),
            FISH_BODY,
            FISH_EYE[0],
            FISH_EYE[1],
        ],
        &[
            (Second, "M 44 0 L 92 -54 Q 106 0 92 54 Z O -6 -54 40 26"),
            FISH_BODY,
            FISH_EYE[0],
            FISH_EYE[1],
        ],
        &[
            (Second, "O 76 0 24 58 M -44 -40 L 40 -84 40 -30 Z M -30 40 L 30 84 30 34 Z"),
            FISH_BODY,
            FISH_EYE[0],
            FISH_EYE[1],
        ],
    ],
    area: area(-46.0, -50.0, 56.0, 50.0),
    mirrored: false,
};

const ROBOT_ARMS: Part = (Second, "R -100 -2 100 28 10");
const ROBOT_LEGS: Part = (Third, "R -52 68 -12 100 4 R 12 68 52 100 4");
const ROBOT_BODY: Part = (Main, "R -66 -18 66 76 8");
const ROBOT_FACE: Part = (Dark, "R -30 -64 -8 -42 4 R 8 -64 30 -42 4");

/// Variants: one antenna, two ears, pointed helmet.
pub(super) const ROBOT: Drawing = Drawing {
    variants: [
        &[
            ROBOT_ARMS,
            ROBOT_LEGS,
            (Second, "R -46 -82 46 -14 10 R -12 -100 12 -76 4"),
            ROBOT_BODY,
            ROBOT_FACE,
        ],
        &[
            ROBOT_ARMS,
            ROBOT_LEGS,
            (Second, "R -46 -86 46 -14 10 R -74 -76 -44 -30 6 R 44 -76 74 -30 6"),
            ROBOT_BODY,
            ROBOT_FACE,
        ],
        &[
            ROBOT_ARMS,
            ROBOT_LEGS,
            (Second, "M -54 -14 L -54 -54 0 -100 54 -54 54 -14 Z"),
            ROBOT_BODY,
            ROBOT_FACE,
        ],
    ],
    area: area(-66.0, -16.0, 66.0, 74.0),
    mirrored: false,
};
