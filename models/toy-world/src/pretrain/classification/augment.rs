//! Augmentation of the training images, so that the classifier generalises to generated images,
//! which are blurrier and noisier than renders.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use seqlora_core::rng::Seed;
use serde::{Deserialize, Serialize};

/// The largest changes of an image. The actual changes are random for each image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Shift of the brightness, of a range of 2.
    pub brightness: f32,
    /// Relative change of the contrast.
    pub contrast: f32,
    /// The number of passes of a blur over 3 × 3 pixels.
    pub blur: usize,
    /// Standard deviation of the noise.
    pub noise: f32,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { brightness: 0.08, contrast: 0.12, blur: 3, noise: 0.08 }
    }
}

impl Augmentation {
    /// Augments images, each with the random numbers of its sample.
    ///
    /// # Shapes
    /// - pixels: `[samples, 3, side, side]`, -1 to 1
    pub fn apply<B: Backend>(
        &self,
        pixels: Tensor<B, 4>,
        samples: Range<u64>,
        seed: &Seed,
    ) -> Tensor<B, 4> {
        let (shape, device) = (pixels.dims(), pixels.device());
        let mut values: Vec<f32> = pixels.into_data().iter().collect();
        let images = values.par_chunks_mut(shape[1..].iter().product());
        images.enumerate().for_each(|(number, image)| {
            let sample = samples.start + number as u64;
            self.change(image, shape[3], &mut seed.fork("augmentation").at(sample));
        });
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    /// Augments one image of three channels of `side × side` pixels.
    fn change(&self, pixels: &mut [f32], side: usize, rng: &mut ChaCha8Rng) {
        let mut between = |most: f32| most * rng.random_range(-1.0..=1.0);
        let (shift, scale) = (between(self.brightness), 1.0 + between(self.contrast));
        for pixel in pixels.iter_mut() {
            *pixel = *pixel * scale + shift;
        }
        for _ in 0..rng.random_range(0..=self.blur) {
            pixels.chunks_exact_mut(side * side).for_each(|channel| blur(channel, side));
        }
        let noise = self.noise * rng.random_range(0.0..=1.0f32);
        for pixel in pixels {
            let sample: f32 = StandardNormal.sample(rng);
            *pixel = (*pixel + noise * sample).clamp(-1.0, 1.0);
        }
    }
}

/// Convolves rows and columns with `[1/4, 1/2, 1/4]`. Pixels beyond the edge equal those at the
/// edge.
fn blur(channel: &mut [f32], side: usize) {
    for line in 0..side {
        blur_line(channel, line * side, 1, side);
    }
    for line in 0..side {
        blur_line(channel, line, side, side);
    }
}

fn blur_line(channel: &mut [f32], start: usize, step: usize, length: usize) {
    let mut before = channel[start];
    for i in 0..length {
        let at = start + i * step;
        let (here, after) = (channel[at], channel[start + (i + 1).min(length - 1) * step]);
        channel[at] = 0.25 * before + 0.5 * here + 0.25 * after;
        before = here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blurring_keeps_the_sum_away_from_the_edges() {
        let mut channel = vec![0.0; 49];
        channel[24] = 16.0;
        blur(&mut channel, 7);
        assert_eq!((channel[24], channel[23], channel[17], channel[16]), (4.0, 2.0, 2.0, 1.0));
        assert_eq!(channel.iter().sum::<f32>(), 16.0);
    }

    #[test]
    fn amounts_of_zero_change_nothing() {
        let none = Augmentation { brightness: 0.0, contrast: 0.0, blur: 0, noise: 0.0 };
        let mut pixels: Vec<f32> = (0..3 * 16).map(|i| i as f32 / 24.0 - 1.0).collect();
        let before = pixels.clone();
        none.change(&mut pixels, 4, &mut Seed::new(0).at(0));
        assert_eq!(pixels, before);
    }

    #[test]
    fn pixels_stay_in_range_and_change() {
        let mut pixels: Vec<f32> = (0..3 * 64).map(|i| (i % 2) as f32 * 2.0 - 1.0).collect();
        let before = pixels.clone();
        Augmentation::default().change(&mut pixels, 8, &mut Seed::new(0).at(1));
        assert!(pixels.iter().all(|pixel| (-1.0..=1.0).contains(pixel)));
        assert_ne!(pixels, before);
    }
}
