//! Named colours and sRGB values.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Red, green and blue in sRGB, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    pub(crate) const WHITE: Self = Self(255, 255, 255);
    pub(crate) const INK: Self = Self(28, 26, 34);

    /// The linear interpolation towards another colour; `share` is from 0 to 1.
    pub fn towards(self, other: Self, share: f32) -> Self {
        let mix = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share) as u8;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }

    /// The distance to another colour, 0 to 765, with the channels weighted 2 : 4 : 3 as an
    /// approximation of human perception.
    pub fn distance(self, other: Self) -> f32 {
        let square = |a: u8, b: u8| (f32::from(a) - f32::from(b)).powi(2);
        let (r, g, b) = (square(self.0, other.0), square(self.1, other.1), square(self.2, other.2));
        (2.0 * r + 4.0 * g + 3.0 * b).sqrt()
    }

    /// A random shade: all channels move together by up to 14, and each by up to 5 more.
    pub(crate) fn jittered(self, rng: &mut ChaCha8Rng) -> Self {
        let light = rng.random_range(-14..=14);
        let mut shift = |c: u8| c.saturating_add_signed(light + rng.random_range(-5..=5));
        Self(shift(self.0), shift(self.1), shift(self.2))
    }
}

/// A colour that captions have a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    White,
    Grey,
}

impl Colour {
    /// All colours.
    pub const ALL: [Self; 11] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::White,
        Self::Grey,
    ];

    /// Its words in captions, the most common one first.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Red => &["red"],
            Self::Orange => &["orange"],
            Self::Yellow => &["yellow"],
            Self::Green => &["green"],
            Self::Blue => &["blue"],
            Self::Purple => &["purple"],
            Self::Pink => &["pink"],
            Self::Brown => &["brown"],
            Self::Black => &["black"],
            Self::White => &["white"],
            Self::Grey => &["grey", "gray"],
        }
    }

    /// Its typical shade.
    pub fn rgb(self) -> Rgb {
        match self {
            Self::Red => Rgb(216, 36, 38),
            Self::Orange => Rgb(248, 134, 22),
            Self::Yellow => Rgb(250, 218, 44),
            Self::Green => Rgb(34, 148, 60),
            Self::Blue => Rgb(34, 84, 216),
            Self::Purple => Rgb(124, 50, 172),
            Self::Pink => Rgb(250, 142, 192),
            Self::Brown => Rgb(122, 70, 34),
            Self::Black => Rgb(40, 38, 44),
            Self::White => Rgb(243, 243, 241),
            Self::Grey => Rgb(142, 144, 150),
        }
    }

    /// The colours that are clearly visible next to this one: those at a distance of more than 270.
    pub fn contrasting(self) -> Vec<Self> {
        let plain = |other: &Self| self.rgb().distance(other.rgb()) > 270.0;
        Self::ALL.into_iter().filter(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_core::rng::Seed;

    #[test]
    fn a_jittered_colour_stays_nearest_to_its_name() {
        let mut rng = Seed::new(0).at(0);
        for colour in Colour::ALL {
            for _ in 0..200 {
                let shade = colour.rgb().jittered(&mut rng);
                let nearest = Colour::ALL
                    .into_iter()
                    .min_by(|a, b| a.rgb().distance(shade).total_cmp(&b.rgb().distance(shade)));
                assert_eq!(nearest, Some(colour), "{shade:?}");
            }
        }
    }

    #[test]
    fn every_colour_has_several_contrasting_ones() {
        for colour in Colour::ALL {
            assert!(colour.contrasting().len() >= 3, "{colour:?}");
        }
    }
}
