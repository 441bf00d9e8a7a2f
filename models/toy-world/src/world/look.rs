//! What an object looks like, down to the shade.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::colour::{Colour, Rgb};
use crate::world::drawing::{Ink, VARIANTS};
use crate::world::face::Face;
use crate::world::pattern::{Decoration, Motif, Pattern};

/// What captions can tell of an ordinary object's look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// The colour of its body.
    pub colour: Colour,
    /// The colour of its pattern and of its smaller parts.
    pub second: Colour,
    /// Its pattern.
    pub pattern: Pattern,
}

/// Everything that is needed to draw an object of a given class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Which ears, handle or sail it has; any number names one.
    pub variant: usize,
    /// The colour of its body.
    pub body: Rgb,
    /// The colour of its pattern and of its smaller parts.
    pub second: Rgb,
    /// The colour of its emblem's plate.
    pub accent: Rgb,
    /// Its pattern, if any.
    pub decoration: Option<Decoration>,
    /// Its face, if its class has one.
    pub face: Face,
    /// The emblem that it wears, if any; any number names one.
    pub emblem: Option<usize>,
}

impl Look {
    /// An ordinary object's look: its traits, and chance in what they leave open.
    pub(crate) fn ordinary(traits: &Traits, rng: &mut ChaCha8Rng) -> Self {
        Self {
            variant: rng.random_range(0..VARIANTS),
            body: traits.colour.rgb().jittered(rng),
            second: traits.second.rgb().jittered(rng),
            accent: Rgb::WHITE,
            decoration: traits.pattern.motif().map(|motif| ordinary_decoration(motif, rng)),
            face: Face::ORDINARY,
            emblem: None,
        }
    }

    /// The colour of an ink.
    pub(crate) fn colour(&self, ink: Ink) -> Rgb {
        match ink {
            Ink::Body | Ink::Bare => self.body,
            Ink::Second => self.second,
            Ink::Line => Rgb::INK,
            Ink::Dark => Rgb(52, 50, 60),
            Ink::Light => Rgb(250, 248, 240),
            Ink::Glass => Rgb(176, 222, 240),
            Ink::Wood => Rgb(132, 84, 46),
            Ink::Leaf => Rgb(74, 160, 68),
            Ink::Beak => Rgb(252, 172, 40),
        }
    }
}

/// A named pattern is upright or level, give or take a little.
fn ordinary_decoration(motif: Motif, rng: &mut ChaCha8Rng) -> Decoration {
    let quarter = if motif == Motif::Stripes && rng.random_bool(0.5) { 90.0 } else { 0.0 };
    let pitch = match motif {
        Motif::Dots => rng.random_range(42.0..52.0),
        Motif::Checks => rng.random_range(52.0..64.0),
        _ => rng.random_range(40.0..50.0),
    };
    Decoration { motif, pitch, angle: quarter + rng.random_range(-10.0..10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_core::rng::Seed;

    #[test]
    fn an_ordinary_look_shows_its_traits_and_no_more() {
        let traits =
            Traits { colour: Colour::Red, second: Colour::White, pattern: Pattern::Dotted };
        let look = Look::ordinary(&traits, &mut Seed::new(0).at(0));
        assert!(look.body.distance(Colour::Red.rgb()) < 60.0);
        assert_eq!(look.decoration.map(|d| d.motif), Some(Motif::Dots));
        assert_eq!((look.emblem, look.face), (None, Face::ORDINARY));
    }
}
