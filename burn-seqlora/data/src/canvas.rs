//! The square that an example fills, and the coarser grid of its latents.

use image::RgbImage;

use super::error::DataError;

/// The square that an example fills, and the coarser grid of its latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    size: usize,
    factor: usize,
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Canvas {
    /// A canvas of `size` pixels per side, which the VAE encodes to `size / factor` latents per side.
    /// Stable Diffusion's VAE has the factor 8.
    ///
    /// # Errors
    /// If `size` is not a positive multiple of `factor`.
    pub fn new(size: usize, factor: usize) -> Result<Self, DataError> {
        if size == 0 || factor == 0 || !size.is_multiple_of(factor) {
            let reason = format!(
                "{size} pixels are not a positive multiple of {factor}, the scale of the VAE"
            );
            return Err(DataError::Option { name: "resolution", reason });
        }
        Ok(Self { size, factor })
    }

    /// Pixels per side.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Latents per side.
    pub fn latent_size(&self) -> usize {
        self.size / self.factor
    }

    /// The whole canvas.
    pub(crate) fn full(&self) -> Rect {
        let side = self.size as u32;
        Rect { x: 0, y: 0, width: side, height: side }
    }

    /// A `[size, size]` plane that is `value(x, y)` inside `target` and 0 outside; x and y start at the
    /// top left corner of `target`.
    pub(crate) fn plane(&self, target: Rect, value: impl Fn(u32, u32) -> f32) -> Vec<f32> {
        let mut plane = vec![0.0; self.size * self.size];
        for y in 0..target.height {
            let start = (target.y + y) as usize * self.size + target.x as usize;
            let row = &mut plane[start..start + target.width as usize];
            for (x, cell) in row.iter_mut().enumerate() {
                *cell = value(x as u32, y);
            }
        }
        plane
    }

    /// A black canvas with `image` at `target`: `[3, size, size]`, from -1 (black) to 1.
    pub(crate) fn paste(&self, image: &RgbImage, target: Rect) -> Vec<f32> {
        let channel = |c: usize| {
            // A plane is 0 outside the target, but black is -1: subtract 1 at the end.
            let plane = self.plane(target, |x, y| f32::from(image.get_pixel(x, y).0[c]) / 127.5);
            plane.into_iter().map(|value| value - 1.0)
        };
        (0..3).flat_map(channel).collect()
    }

    /// The mean of each `factor x factor` block: `[size, size]` to `[latent_size, latent_size]`.
    pub(crate) fn block_means(&self, plane: &[f32]) -> Vec<f32> {
        let latents = self.latent_size();
        let mut means = vec![0.0; latents * latents];
        for (y, row) in plane.chunks(self.size).enumerate() {
            for (x, value) in row.iter().enumerate() {
                means[y / self.factor * latents + x / self.factor] += value;
            }
        }
        let area = (self.factor * self.factor) as f32;
        means.iter().map(|sum| sum / area).collect()
    }
}
