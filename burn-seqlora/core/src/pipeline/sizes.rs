//! The sizes of the images that a model can make.

use crate::error::{Error, Result};

/// The longest side of an image in pixels. Latents and activations of larger ones fit no machine.
const LONGEST_SIDE: usize = 16_384;

/// The sizes of the images that a model can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSizes {
    /// Width and height that the model was trained for, in pixels.
    pub side: usize,
    /// Width and height are multiples of it.
    pub unit: usize,
    /// Pixels per latent, in each direction.
    pub scale: usize,
    /// Channels of the latents.
    pub channels: usize,
}

impl ImageSizes {
    /// Width and height in pixels of an image of this size, or else of the model's own.
    ///
    /// # Errors
    /// If the model cannot make images of this size, or no machine can.
    pub fn pixels(&self, size: Option<[usize; 2]>) -> Result<[usize; 2]> {
        let Self { side, unit, .. } = *self;
        let [width, height] = size.unwrap_or([side; 2]);
        let refuse =
            |reason: String| Err(Error::Invalid(format!("size {width}x{height}: {reason}")));
        if [width, height].iter().any(|side| *side == 0 || !side.is_multiple_of(unit)) {
            return refuse(format!("width and height must be multiples of {unit} for this model"));
        }
        if width.max(height) > LONGEST_SIDE {
            return refuse(format!("width and height may be at most {LONGEST_SIDE}"));
        }
        Ok([width, height])
    }

    /// The shape of one image's latents, `[1, channels, height, width]`.
    ///
    /// # Errors
    /// Those of [`pixels`](Self::pixels).
    pub fn latent_shape(&self, size: Option<[usize; 2]>) -> Result<[usize; 4]> {
        let [width, height] = self.pixels(size)?;
        Ok([1, self.channels, height / self.scale, width / self.scale])
    }
}
