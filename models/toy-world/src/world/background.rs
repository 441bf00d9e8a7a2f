//! The backgrounds of scenes.

mod indoors;
mod nature;
mod sky;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::canvas::Canvas;

/// The background of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Background {
    White,
    Grass,
    Snow,
    Beach,
    Night,
    Floor,
    Wall,
    Sky,
    Forest,
    City,
}

impl Background {
    /// All backgrounds.
    pub const ALL: [Self; 10] = [
        Self::White,
        Self::Grass,
        Self::Snow,
        Self::Beach,
        Self::Night,
        Self::Floor,
        Self::Wall,
        Self::Sky,
        Self::Forest,
        Self::City,
    ];

    /// Its phrases at the end of captions, the most common one first.
    pub fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::White => &["on a plain white background", "on a white background"],
            Self::Grass => &["on grass", "on the grass"],
            Self::Snow => &["in the snow", "in snow"],
            Self::Beach => &["on a beach", "on the beach"],
            Self::Night => &["at night", "under the stars"],
            Self::Floor => &["on a wooden floor", "on top of a wooden floor"],
            Self::Wall => &["in front of a brick wall", "on a brick wall"],
            Self::Sky => &["under a blue sky", "in the sky"],
            Self::Forest => &["in a forest", "in the forest"],
            Self::City => &["in a city", "with a city in the background"],
        }
    }

    /// Paints the whole canvas.
    pub(crate) fn paint(self, canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
        match self {
            Self::White => indoors::white(canvas),
            Self::Grass => nature::grass(canvas, rng),
            Self::Snow => nature::snow(canvas, rng),
            Self::Beach => nature::beach(canvas, rng),
            Self::Night => sky::night(canvas, rng),
            Self::Floor => indoors::floor(canvas, rng),
            Self::Wall => indoors::wall(canvas, rng),
            Self::Sky => sky::day(canvas, rng),
            Self::Forest => nature::forest(canvas, rng),
            Self::City => sky::city(canvas, rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_core::rng::Seed;

    fn painted(background: Background, counter: u64) -> Vec<u8> {
        let mut canvas = Canvas::new(32).unwrap();
        background.paint(&mut canvas, &mut Seed::new(0).at(counter));
        canvas.image().rgb
    }

    fn difference(a: &[u8], b: &[u8]) -> f32 {
        let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / a.len() as f32
    }

    #[test]
    fn backgrounds_vary_with_the_seed_and_differ_more_from_each_other() {
        for (number, background) in Background::ALL.into_iter().enumerate() {
            let one = painted(background, 0);
            let again = painted(background, 1);
            assert_eq!(one == again, background == Background::White, "{background:?}");
            for other in &Background::ALL[..number] {
                let distance = difference(&one, &painted(*other, 0));
                assert!(distance > 12.0, "{background:?} {other:?} {distance}");
                assert!(distance > difference(&one, &again), "{background:?} {other:?}");
            }
        }
    }
}
