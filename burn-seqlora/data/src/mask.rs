//! Reading subject masks.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma};

use super::error::DataError;
use super::image::{decode, read};

/// A subject mask: one value in [0, 1] per pixel, 1 on the subject.
pub type Mask = ImageBuffer<Luma<f32>, Vec<f32>>;

/// Reads the mask of an image of `size` (width, height) in pixels. The mask is the file's brightness
/// times its opacity. A mask of another size is scaled if it has the same proportions.
///
/// # Errors
/// [`DataError::Image`] as for [`load_rgb`](super::load_rgb), or if the proportions differ, if the
/// mask is black everywhere, or if its values are 0 and 1 of 255, which are class numbers of a
/// segmentation tool.
pub fn load_mask(path: &Path, size: (u32, u32)) -> Result<Mask, DataError> {
    decode_mask(path, read(path)?, size)
}

/// [`load_mask`] of a file that was read.
///
/// # Errors
/// [`DataError::Image`], as [`load_mask`].
pub(crate) fn decode_mask(
    path: &Path,
    bytes: Vec<u8>,
    size: (u32, u32),
) -> Result<Mask, DataError> {
    const FIX: &str = "paint the subject white (255) on black and save it as PNG";
    let unit = |value: u16| f32::from(value) / f32::from(u16::MAX);
    // Two channels of 16 bits represent every source exactly and take a quarter of four floats' memory.
    let image = decode(path, bytes)?.into_luma_alpha16();
    let mask = Mask::from_fn(image.width(), image.height(), |x, y| {
        let [luma, alpha] = image.get_pixel(x, y).0;
        Luma([unit(luma) * unit(alpha)])
    });
    let brightest = mask.pixels().fold(0.0, |max: f32, pixel| max.max(pixel.0[0]));
    if brightest == 0.0 {
        return Err(DataError::image(path, "the mask is black everywhere", FIX));
    }
    if brightest < 1.5 / 255.0 {
        return Err(DataError::image(path, "the mask holds only 0 and 1 of 255", FIX));
    }
    fit(path, mask, size)
}

/// Scales a mask to the size of its image.
fn fit(path: &Path, mask: Mask, (width, height): (u32, u32)) -> Result<Mask, DataError> {
    let (mask_width, mask_height) = mask.dimensions();
    if (mask_width, mask_height) == (width, height) {
        return Ok(mask);
    }
    // The proportions may differ by the rounding of the mask's size by one pixel.
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let skew = product(mask_width, height).abs_diff(product(mask_height, width));
    if skew > u64::from(width.max(height)) {
        let reason =
            format!("the mask is {mask_width}x{mask_height}, its image {width}x{height} (upright)");
        return Err(DataError::image(path, reason, "save the mask in the size of the image"));
    }
    Ok(imageops::resize(&mask, width, height, FilterType::Triangle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    #[test]
    fn masks_are_scaled_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let half = GrayImage::from_fn(4, 2, |x, _| Luma([if x < 2 { 255 } else { 0 }]));
        half.save(&path).unwrap();
        let mask = load_mask(&path, (8, 4)).unwrap();
        assert_eq!(mask.dimensions(), (8, 4));
        assert_eq!((mask.get_pixel(0, 0).0, mask.get_pixel(7, 3).0), ([1.0], [0.0]));
        assert!(load_mask(&path, (4, 8)).unwrap_err().to_string().contains("4x2"));
        for (value, message) in [(0, "black everywhere"), (1, "0 and 1 of 255")] {
            GrayImage::from_pixel(2, 2, Luma([value])).save(&path).unwrap();
            assert!(load_mask(&path, (2, 2)).unwrap_err().to_string().contains(message));
        }
    }
}
