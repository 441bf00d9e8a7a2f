//! What identifies an image: its pixels.

use image::RgbImage;
use seqlora_files::sha256;

/// The SHA-256 of an image's width and height, as little-endian numbers of four bytes, and its RGB bytes:
/// 64 hexadecimal digits. The same image has the same id in every file format without loss.
pub fn image_id(image: &RgbImage) -> String {
    let (width, height) = image.dimensions();
    sha256(&[&width.to_le_bytes()[..], &height.to_le_bytes(), image.as_raw()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_belongs_to_the_image() {
        let wide = RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let high = RgbImage::from_raw(1, 2, wide.as_raw().clone()).unwrap();
        assert_ne!(image_id(&wide), image_id(&high));
        assert_eq!(image_id(&wide), image_id(&wide.clone()));
    }
}
