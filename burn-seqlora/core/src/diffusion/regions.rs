//! Prompts of their own for parts of an image: the regionally controllable sampling of Mix-of-Show
//! (arXiv 2305.18292), in cross-attention alone.
//!
//! At a place u of a layer that sees `H × W` places, with `o_i` the layer's output for prompt i,
//! `o_0` that of the whole image's prompt and `M(u)` the number of boxes that hold u:
//!
//! ```text
//! o(u) = o_0(u)                                            if M(u) = 0
//! o(u) = β o_0(u) + (1 − β) Σ_{i: u ∈ R_i} o_i(u) / M(u)   else
//! R_i  = [⌈y0·H⌉, ⌊y1·H⌋) × [⌈x0·W⌉, ⌊x1·W⌋)       corners as fractions of the image
//! ```
//!
//! Mix-of-Show has β = 0; another one is the base ratio of A1111's extension Regional Prompter.
//!
//! Self-attention and convolutions see the whole image as ever, which ties the parts together.

use std::iter;

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;

use crate::error::{Error, Result};
use crate::lora::Traced;

/// A box in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Left, top, right and bottom, in pixels.
    corners: [usize; 4],
    /// Width and height of the image.
    image: [usize; 2],
}

/// One prompt that a cross-attention layer sees, and how much of it at each place.
#[derive(Debug, Clone)]
pub struct Source<B: Backend> {
    /// `[prompts, length, width]`
    pub prompt: Dual<B, 3>,
    /// `[1, places, 1]`; `None` for all of it everywhere.
    pub share: Option<Tensor<B, 3>>,
    /// The layer's keys and values of the prompt, where they were computed beforehand.
    pub projected: Option<KeyValue<B>>,
}

impl<B: Backend> Source<B> {
    /// What of it may move.
    pub fn traced(&self) -> Vec<Traced<B>> {
        let projected = self.projected.clone().map(|KeyValue { key, value }| [key, value]);
        [self.prompt.clone()]
            .into_iter()
            .chain(projected.into_iter().flatten())
            .map(Traced::from)
            .collect()
    }

    /// The same with other values of it.
    ///
    /// # Panics
    /// If there are fewer than [`traced`](Self::traced) gives.
    pub fn with_traced<'t>(&self, values: &mut impl Iterator<Item = &'t Traced<B>>) -> Self {
        let mut next = || values.next().expect("as many as were traced").dual();
        let prompt = next();
        let projected = self.projected.as_ref().map(|_| KeyValue { key: next(), value: next() });
        Self { prompt, projected, share: self.share.clone() }
    }
}

/// Keys and values of a prompt in one cross-attention layer, `[prompts, length, channels]` each.
#[derive(Debug, Clone)]
pub struct KeyValue<B: Backend> {
    /// The keys.
    pub key: Dual<B, 3>,
    /// The values.
    pub value: Dual<B, 3>,
}

impl Area {
    /// The box from its left, top, right and bottom in pixels of an image of this width and
    /// height.
    ///
    /// # Errors
    /// If it is empty or reaches out of the image.
    pub fn new(corners: [usize; 4], image: [usize; 2]) -> Result<Self> {
        let ([x0, y0, x1, y1], [width, height]) = (corners, image);
        match x0 < x1 && x1 <= width && y0 < y1 && y1 <= height {
            true => Ok(Self { corners, image }),
            false => Err(Error::Invalid(format!(
                "the region {x0},{y0},{x1},{y1} is no box inside an image of {width}x{height}: it \
                 needs x0 < x1 ≤ {width} and y0 < y1 ≤ {height}"
            ))),
        }
    }

    /// Whether the box holds the place `[row, column]` of `[height, width]` places: all of it lies
    /// in the box.
    fn holds(&self, place: [usize; 2], [rows, columns]: [usize; 2]) -> bool {
        let ([x0, y0, x1, y1], [width, height]) = (self.corners, self.image);
        let inside = |at: usize, from: usize, to: usize, places: usize, size: usize| {
            ((from * places).div_ceil(size)..to * places / size).contains(&at)
        };
        inside(place[0], y0, y1, rows, height) && inside(place[1], x0, x1, columns, width)
    }
}

/// The share of the whole image's prompt at each place, which is `base` in areas, then that of each area's;
/// at every place they add up to 1.
pub(crate) fn shares(areas: &[Area], base: f32, places: [usize; 2]) -> Vec<Vec<f32>> {
    let [rows, columns] = places;
    let at_places = (0..rows * columns).map(|number| [number / columns, number % columns]);
    let held = |area: &Area| at_places.clone().map(|place| area.holds(place, places)).collect();
    let held: Vec<Vec<bool>> = areas.iter().map(held).collect();
    let boxes: Vec<usize> =
        (0..rows * columns).map(|u| held.iter().filter(|held| held[u]).count()).collect();
    let share = |(held, boxes): (&bool, &usize)| match held {
        true => (1.0 - base) / *boxes as f32,
        false => 0.0,
    };
    let outside = boxes.iter().map(|boxes| if *boxes == 0 { 1.0 } else { base }).collect();
    let inside = held.iter().map(|held| held.iter().zip(&boxes).map(share).collect());
    iter::once(outside).chain(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(corners: [usize; 4]) -> Area {
        Area::new(corners, [512, 512]).unwrap()
    }

    /// Where an area's share begins and ends in a row of places.
    fn extent(area: Area, places: usize) -> Option<(usize, usize)> {
        let inside = |at: &usize| area.holds([places / 2, *at], [places, places]);
        let held: Vec<usize> = (0..places).filter(inside).collect();
        Some((*held.first()?, held.last()? + 1))
    }

    /// Starts are rounded up and ends down, so that a place is inside as a whole.
    #[test]
    fn boxes_at_every_level() {
        let third = area([171, 0, 341, 512]);
        let extents = [64, 32, 16, 8].map(|places| extent(third, places));
        assert_eq!(extents, [Some((22, 42)), Some((11, 21)), Some((6, 10)), Some((3, 5))]);
        let narrow = area([70, 0, 120, 512]);
        assert_eq!([64, 8].map(|places| extent(narrow, places)), [Some((9, 15)), None]);
    }

    #[test]
    fn every_place_is_shared_out_once() {
        let areas = [area([0, 0, 256, 512]), area([128, 128, 384, 384]), area([70, 70, 120, 120])];
        for places in [[64, 64], [16, 16], [8, 8], [8, 4]] {
            let shares = shares(&areas, 0.0, places);
            for place in 0..places[0] * places[1] {
                let total: f32 = shares.iter().map(|share| share[place]).sum();
                assert_eq!(total, 1.0);
            }
        }
        let whole = shares(&[area([0, 0, 512, 512])], 0.0, [8, 8]);
        assert!(whole[0].iter().all(|s| *s == 0.0) && whole[1].iter().all(|s| *s == 1.0));
        assert!(shares(&[area([70, 70, 120, 120])], 0.0, [8, 8])[1].iter().all(|s| *s == 0.0));
        let same = shares(&[area([0, 0, 256, 256]); 2], 0.0, [8, 8]);
        assert_eq!(same[1], same[2]);
        assert_eq!(same[1][0], 0.5);
    }

    #[test]
    fn the_whole_images_prompt_keeps_its_share_in_boxes() {
        let both = shares(&[area([0, 0, 256, 512]), area([0, 0, 256, 256])], 0.25, [8, 8]);
        let at = |place: usize| [both[0][place], both[1][place], both[2][place]];
        assert_eq!(
            [at(0), at(7), at(63 - 7)],
            [[0.25, 0.375, 0.375], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]
        );
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        for corners in [[0, 0, 0, 8], [8, 0, 4, 8], [0, 0, 513, 8], [0, 8, 8, 8]] {
            let error = Area::new(corners, [512, 512]).unwrap_err().to_string();
            assert!(error.contains("512x512"), "{error}");
        }
    }
}
