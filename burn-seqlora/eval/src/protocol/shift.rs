//! References as another camera, file or frame would show them.

use std::fmt;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops;
use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

/// A degradation of a reference image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// JPEG at quality 10.
    Jpeg,
    /// A Gaussian blur of 2 % of the shorter side.
    Blur,
    /// The central 70 % of each side.
    Crop,
    /// All hues turned by 60°.
    Hue,
}

impl Shift {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jpeg, Self::Blur, Self::Crop, Self::Hue];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Blur => "blur",
            Self::Crop => "crop",
            Self::Hue => "hue",
        }
    }

    /// What it does, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG at quality 10",
            Self::Blur => "a Gaussian blur of 2 % of the shorter side",
            Self::Crop => "the central 70 % of each side",
            Self::Hue => "hues turned by 60°",
        }
    }

    /// The degraded image.
    pub fn apply(self, image: &RgbImage) -> RgbImage {
        let (width, height) = image.dimensions();
        match self {
            Self::Jpeg => {
                let mut bytes = Vec::new();
                let encoder = JpegEncoder::new_with_quality(Cursor::new(&mut bytes), 10);
                image.write_with_encoder(encoder).expect("memory takes it");
                let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg);
                decoded.expect("it was just written").into_rgb8()
            }
            Self::Blur => imageops::blur(image, 0.02 * width.min(height) as f32),
            Self::Crop => {
                let [inner_width, inner_height] =
                    [width, height].map(|side| (side * 7 / 10).max(1));
                let (x, y) = ((width - inner_width) / 2, (height - inner_height) / 2);
                imageops::crop_imm(image, x, y, inner_width, inner_height).to_image()
            }
            Self::Hue => imageops::huerotate(image, 60),
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn each_changes_what_it_says() {
        let image =
            RgbImage::from_fn(40, 20, |x, y| Rgb([255 * (x / 4 % 2) as u8, 90, 5 * y as u8]));
        for shift in Shift::ALL {
            let shifted = shift.apply(&image);
            assert_ne!(shifted, image, "{shift}");
            assert_eq!(shifted, shift.apply(&image), "{shift} is the same each time");
            let expected = if shift == Shift::Crop { (28, 14) } else { (40, 20) };
            assert_eq!(shifted.dimensions(), expected, "{shift}");
        }
        assert_eq!(Shift::Crop.apply(&image).get_pixel(0, 0), image.get_pixel(6, 3));
        let grey = RgbImage::from_pixel(8, 8, Rgb([90; 3]));
        let turned = Shift::Hue.apply(&grey);
        assert!(turned.iter().all(|byte| byte.abs_diff(90) <= 1), "grey has no hue");
        assert_eq!(Shift::Crop.apply(&RgbImage::new(1, 1)).dimensions(), (1, 1));
    }
}
