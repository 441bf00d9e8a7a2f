//! The look of an object: everything but its class and its pose.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::colour::{Colour, Rgb};
use crate::world::drawing::{Ink, VARIANTS};
use crate::world::face::Face;
use crate::world::pattern::{Decoration, Motif, Pattern};

/// The part of an ordinary object's look that captions have words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// The colour of its body.
    pub colour: Colour,
    /// The colour of its pattern and of its smaller parts.
    pub second: Colour,
    /// Its pattern.
    pub pattern: Pattern,
}

/// Everything that is needed to paint an object of a given class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Which variant of its class is drawn. Indices wrap around.
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
    /// Its emblem, if it has one. Indices wrap around.
    pub emblem: Option<usize>,
}

impl Look {
    /// The look of an ordinary object with the given traits; everything else is random.
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

    /// The colour that an ink has on this object.
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

/// A named pattern with a random pitch, rotated by at most 10 degrees. Stripes are vertical or
/// horizontal.
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
    fn an_ordinary_look_has_its_traits_and_no_emblem() {
        let traits =
            Traits { colour: Colour::Red, second: Colour::White, pattern: Pattern::Dotted };
        let look = Look::ordinary(&traits, &mut Seed::new(0).at(0));
        assert!(look.body.distance(Colour::Red.rgb()) < 60.0);
        assert_eq!(look.decoration.map(|d| d.motif), Some(Motif::Dots));
        assert_eq!((look.emblem, look.face), (None, Face::ORDINARY));
    }
}
