//! Images as bytes.

use burn::tensor::{Tensor, backend::Backend};

use crate::error::{Error, Result};
use crate::read;

/// An image in 8-bit RGB, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes per pixel.
    pub rgb: Vec<u8>,
}

impl Image {
    /// One decoded image, `[1, 3, height, width]` in [−1, 1].
    ///
    /// # Errors
    /// [`Error::ImageNotFinite`].
    pub fn from_pixels<B: Backend>(pixels: Tensor<B, 4>) -> Result<Self> {
        let [_, _, height, width] = pixels.dims();
        let values: Vec<f32> = read::data(pixels.permute([0, 2, 3, 1])).iter::<f32>().collect();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::ImageNotFinite);
        }
        let byte = |x: f32| ((x.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
        Ok(Self { width, height, rgb: values.into_iter().map(byte).collect() })
    }
}
