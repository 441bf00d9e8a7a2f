//! Faces and emblems, which distinguish individuals.
//!
//! Their paths fill the square from -100 to 100. The drawing of each class says where they are
//! placed.

use serde::{Deserialize, Serialize};

use crate::world::drawing::{Ink, Part};

/// Eyes and mouth, drawn for the classes that have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    eyes: usize,
    mouth: usize,
}

const EYES: [&[Part]; 5] = [
    &[(Ink::Dark, "O 0 0 80 100"), (Ink::Light, "O 24 -34 30 34")],
    &[(Ink::Light, "O 0 0 125 125"), (Ink::Dark, "O 10 10 62 62")],
    &[(Ink::Light, "M -125 0 Q 0 190 125 0 Z"), (Ink::Dark, "O 0 44 50 44")],
    &[
        (Ink::Light, "O 0 0 135 135"),
        (
            Ink::Dark,
            "M -88 -60 L -60 -88 0 -30 60 -88 88 -60 30 0 88 60 60 88 0 30 -60 88 -88 60 -30 0 Z",
        ),
    ],
    &[(Ink::Dark, "O 0 0 135 135"), (Ink::Glass, "O 0 0 95 95"), (Ink::Dark, "O 0 0 45 60")],
];

const MOUTHS: [&[Part]; 5] = [
    &[(Ink::Dark, "M -100 -30 Q 0 90 100 -30 L 80 -50 Q 0 40 -80 -50 Z")],
    &[(Ink::Dark, "M -100 -50 L 100 -50 Q 80 90 0 90 Q -80 90 -100 -50 Z")],
    &[(Ink::Dark, "M -100 40 Q 0 -80 100 40 L 80 60 Q 0 -30 -80 60 Z")],
    &[(Ink::Light, "R -100 -50 100 50 20"), (Ink::Dark, "R -45 -50 -25 50 0 R 25 -50 45 50 0")],
    &[(Ink::Dark, "O 0 10 45 60")],
];

/// The emblems: signs and letters.
const EMBLEMS: [&str; 16] = [
    "M 0 -78 L 72 54 -72 54 Z M 0 -22 L -30 34 30 34 Z",
    "M 20 -84 L -56 14 -6 14 -22 84 56 -18 6 -18 Z",
    "R -22 -76 22 76 4 R -76 -22 -22 22 4 R 22 -22 76 22 4",
    "O -16 0 66 66 O 16 -12 -52 52",
    "M -66 -70 L 66 -70 -66 70 66 70 Z",
    "M -72 -66 L -36 -66 -36 -20 36 -20 36 -66 72 -66 72 66 36 66 36 16 -36 16 -36 66 -72 66 Z",
    "M 0 76 C -130 -8 -80 -86 0 -34 C 80 -86 130 -8 0 76 Z",
    "O 0 0 76 76 O 0 0 -50 50 O 0 0 26 26",
    "M -80 -18 L 0 -78 80 -18 40 -18 40 70 -40 70 -40 -18 Z",
    "M -70 -70 L -22 -70 -22 22 70 22 70 70 -70 70 Z",
    "M -74 -60 L -36 -74 0 -10 36 -74 74 -60 22 16 22 76 -22 76 -22 16 Z",
    "O -38 -38 32 32 O 38 -38 32 32 O -38 38 32 32 O 38 38 32 32",
    "R -76 -76 76 -42 4 R -76 -17 76 17 4 R -76 42 76 76 4",
    "M 0 -86 L 24 -26 86 -24 38 16 56 78 0 44 -56 78 -38 16 -86 -24 -24 -26 Z",
    "M 70 -70 L 70 -30 -26 -30 -26 -4 50 -4 50 34 -26 34 -26 78 -68 78 -68 -70 Z",
    "M -80 0 Q 0 -90 80 0 Q 0 90 -80 0 Z M 0 -26 L -26 0 0 26 26 0 Z",
];

impl Face {
    /// The face of all ordinary objects.
    pub(crate) const ORDINARY: Self = Self { eyes: 0, mouth: 0 };

    /// A face that no ordinary object has. Indices wrap around.
    pub(crate) fn of(index: usize) -> Self {
        Self { eyes: 1 + index % (EYES.len() - 1), mouth: 1 + index % (MOUTHS.len() - 1) }
    }

    /// The parts of an eye.
    pub(crate) fn eye(self) -> &'static [Part] {
        EYES[self.eyes % EYES.len()]
    }

    /// The parts of the mouth.
    pub(crate) fn mouth(self) -> &'static [Part] {
        MOUTHS[self.mouth % MOUTHS.len()]
    }
}

/// The path of an emblem. Indices wrap around.
pub(crate) fn emblem(index: usize) -> &'static str {
    EMBLEMS[index % EMBLEMS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::path::path;

    #[test]
    fn every_mark_is_a_path() {
        let parts = EYES.iter().chain(&MOUTHS).flat_map(|parts| parts.iter());
        for data in parts.map(|(_, data)| *data).chain(EMBLEMS) {
            assert!(path(data).is_some(), "{data}");
        }
    }

    #[test]
    fn indices_of_faces_and_emblems_wrap_around() {
        assert_eq!(Face::of(0).eye(), Face::of(EYES.len() - 1).eye());
        assert_ne!(Face::of(0).eye(), Face::ORDINARY.eye());
        assert_eq!(emblem(3), emblem(3 + EMBLEMS.len()));
    }
}
