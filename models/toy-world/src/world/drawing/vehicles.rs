//! Drawings of vehicles.

use super::shape::Role::{Light, Main, Second, Third};
use super::shape::{Drawing, Part, area};

const HULL: Part = (Main, "M -100 22 L 100 22 68 90 -68 90 Z");

/// Variants: two triangular sails, a square sail, a steamer's cabin and funnel.
pub(super) const BOAT: Drawing = Drawing {
    variants: [
        &[(Second, "M -6 -98 L -6 20 -84 20 Z"), (Third, "M 8 -84 L 8 20 72 20 Z"), HULL],
        &[(Third, "R -18 -100 18 -60 0"), (Second, "R -64 -64 64 14 0"), HULL],
        &[(Third, "R 4 -92 46 -20 0"), (Second, "R -62 -32 62 26 0"), HULL],
    ],
    area: area(-84.0, 22.0, 84.0, 90.0),
    mirrored: false,
};

const CHASSIS: Part = (Main, "R -100 -22 100 54 16");
const WHEELS: Part = (Third, "O -54 54 33 33 O 54 54 33 33");

/// Variants: saloon, van and pickup.
pub(super) const CAR: Drawing = Drawing {
    variants: [
        &[(Second, "M -66 -16 L -38 -74 36 -74 66 -16 Z"), CHASSIS, WHEELS],
        &[(Second, "R -98 -84 52 0 10"), CHASSIS, WHEELS],
        &[(Second, "M -14 -10 L -14 -78 46 -78 76 -10 Z"), CHASSIS, WHEELS],
    ],
    area: area(-96.0, -22.0, 96.0, 22.0),
    mirrored: false,
};

const PORTHOLE: Part = (Light, "O 0 -22 17 17");

/// Variants: slim with swept fins, fat with square fins, stepped.
pub(super) const ROCKET: Drawing = Drawing {
    variants: [
        &[
            (Second, "M 34 24 L 84 98 20 84 Z X"),
            (Main, "M -40 -40 L 40 -40 40 84 -40 84 Z"),
            (Third, "M -40 -38 Q -34 -82 0 -100 Q 34 -82 40 -38 Z"),
            PORTHOLE,
        ],
        &[
            (Second, "R 40 30 92 90 0 X"),
            (Main, "M -58 -30 Q -66 40 -48 84 L 48 84 Q 66 40 58 -30 Z"),
            (Third, "M -58 -28 L 0 -98 58 -28 Z"),
            PORTHOLE,
        ],
        &[
            (Second, "M 44 0 L 96 40 96 98 44 84 Z X"),
            (Main, "R -46 -44 46 88 0"),
            (Third, "R -26 -98 26 -40 12"),
            PORTHOLE,
        ],
    ],
    area: area(-42.0, 0.0, 42.0, 84.0),
    mirrored: false,
};
