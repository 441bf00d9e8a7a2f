//! The backgrounds of scenes: at most three flat or softly shaded areas, in tones between the colours of
//! objects, so that white and black objects are seen on each.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::canvas::Canvas;
use crate::world::colour::Rgb;

/// The background of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Background {
    Grey,
    Sand,
    Grass,
    Beach,
    Night,
    Floor,
    Sky,
    Dusk,
}

impl Background {
    /// All backgrounds.
    pub const ALL: [Self; 8] = [
        Self::Grey,
        Self::Sand,
        Self::Grass,
        Self::Beach,
        Self::Night,
        Self::Floor,
        Self::Sky,
        Self::Dusk,
    ];

    /// Its phrases at the end of captions, the most common one first.
    pub fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::Grey => &["on a plain grey background", "on a grey background"],
            Self::Sand => &["on sand", "on the sand"],
            Self::Grass => &["on grass", "on the grass"],
            Self::Beach => &["on a beach", "on the beach"],
            Self::Night => &["at night", "in the night"],
            Self::Floor => &["on a wooden floor", "on the floor"],
            Self::Sky => &["in the sky", "under a blue sky"],
            Self::Dusk => &["at dusk", "in the evening"],
        }
    }

    /// Paints the whole canvas.
    pub(crate) fn paint(self, canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
        let horizon = rng.random_range(0.55..0.72);
        let mut band = |top, bottom, from, to| canvas.band((top, bottom), (from, to));
        match self {
            Self::Grey => band(0.0, 1.0, Rgb(182, 180, 178), Rgb(150, 148, 148)),
            Self::Sand => band(0.0, 1.0, Rgb(222, 202, 160), Rgb(196, 172, 128)),
            Self::Grass => {
                band(0.0, horizon, Rgb(168, 206, 232), Rgb(198, 222, 234));
                band(horizon, 1.0, Rgb(132, 184, 104), Rgb(110, 160, 86));
            }
            Self::Beach => {
                band(0.0, horizon - 0.2, Rgb(170, 212, 232), Rgb(196, 226, 238));
                band(horizon - 0.2, horizon, Rgb(96, 156, 188), Rgb(112, 174, 198));
                band(horizon, 1.0, Rgb(226, 206, 156), Rgb(208, 184, 134));
            }
            Self::Night => band(0.0, 1.0, Rgb(58, 64, 112), Rgb(98, 98, 150)),
            Self::Floor => {
                band(0.0, horizon, Rgb(206, 190, 182), Rgb(196, 180, 172));
                band(horizon, 1.0, Rgb(164, 124, 94), Rgb(146, 108, 80));
            }
            Self::Sky => band(0.0, 1.0, Rgb(130, 180, 226), Rgb(186, 214, 236)),
            Self::Dusk => {
                band(0.0, horizon, Rgb(202, 160, 186), Rgb(236, 186, 158));
                band(horizon, 1.0, Rgb(128, 102, 118), Rgb(110, 86, 104));
            }
        }
    }
}
