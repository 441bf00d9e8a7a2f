//! A preprocessing as data, and its execution.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::bytes;
use super::filter::Filter;
use super::floats;

/// Sizes after resizing, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Resize {
    /// The shorter side becomes `short`, the other one keeps the ratio, rounded down; then the central
    /// square of `side` is cut out.
    ShortSide {
        /// The shorter side.
        short: u32,
        /// The side of the square.
        side: u32,
    },
    /// Both sides become `side`, whatever the ratio was.
    Squash {
        /// The side.
        side: u32,
    },
    /// The longer side becomes `side`, the other one keeps the ratio; black on both ends of it makes the
    /// image a square.
    LongSide {
        /// The side.
        side: u32,
    },
}

/// How images are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// As Pillow does: bytes are rounded after each pass.
    Bytes,
    /// As torchvision does with tensors: numbers from 0 to 1, which may overshoot.
    Floats,
    /// As torchvision did with tensors before version 0.17: also without antialiasing.
    FloatsWithoutAntialiasing,
}

/// What happens to an image before an encoder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The sizes.
    pub resize: Resize,
    /// The filter.
    pub filter: Filter,
    /// The arithmetic.
    pub arithmetic: Arithmetic,
    /// The mean of each channel, which is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, by which is divided.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// The side of the square that an encoder sees, in pixels.
    pub fn side(&self) -> usize {
        let (Resize::ShortSide { side, .. } | Resize::Squash { side } | Resize::LongSide { side }) =
            self.resize;
        side as usize
    }

    /// The preprocessed image, `[3, side, side]`.
    ///
    /// # Panics
    /// If the image has no pixels, or a size of the preprocessing is zero.
    pub fn apply(&self, image: &RgbImage) -> Vec<f32> {
        let (width, height) = image.dimensions();
        let (size, side) = (self.resize.target(width, height), self.side());
        let offsets = size.map(|length| self.resize.offset(length, side));
        let window = [0, 1].map(|axis| {
            let start = offsets[axis].max(0) as usize;
            start..(offsets[axis] + side as i64).min(size[axis] as i64) as usize
        });
        let [rows, columns] = window.clone().map(|range| range.len());
        let resized = match self.arithmetic {
            Arithmetic::Bytes => planes(&bytes::resize_window(image, size, window, self.filter)),
            Arithmetic::Floats | Arithmetic::FloatsWithoutAntialiasing => {
                let antialias = self.arithmetic == Arithmetic::Floats;
                let from = [height as usize, width as usize];
                floats::resize_window(&planes(image), from, size, window, self.filter, antialias)
            }
        };
        let [above, before] = offsets.map(|offset| (-offset).max(0) as usize);
        let mut output = Vec::with_capacity(3 * side * side);
        for (channel, plane) in resized.chunks(rows * columns).enumerate() {
            let normalised = |value: f32| (value - self.mean[channel]) / self.std[channel];
            let start = output.len();
            output.resize(start + side * side, normalised(0.0));
            for (row, values) in plane.chunks(columns).enumerate() {
                let place = start + (above + row) * side + before;
                let target = output[place..place + columns].iter_mut();
                target.zip(values).for_each(|(output, value)| *output = normalised(*value));
            }
        }
        output
    }

    /// A sentence that says what happens, exactly enough to repeat it elsewhere.
    pub fn description(&self) -> String {
        let size = match self.resize {
            Resize::ShortSide { short, side } => {
                format!("shorter side to {short}, centre crop of {side}")
            }
            Resize::Squash { side } => format!("to {side} × {side}, whatever the ratio"),
            Resize::LongSide { side } => format!("longer side to {side}, zeros around to a square"),
        };
        let filter = match self.filter {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        };
        let arithmetic = match self.arithmetic {
            Arithmetic::Bytes => "as Pillow does with bytes",
            Arithmetic::Floats => "as torchvision does with tensors, with antialiasing",
            Arithmetic::FloatsWithoutAntialiasing => {
                "as torchvision does with tensors, without antialiasing"
            }
        };
        format!("{size}; {filter}, {arithmetic}; mean {:?}, std {:?}", self.mean, self.std)
    }
}

impl Resize {
    /// Height and width after resizing.
    fn target(self, width: u32, height: u32) -> [usize; 2] {
        let least_one = |length: f64| (length as usize).max(1);
        match self {
            Self::Squash { side } => [side as usize; 2],
            Self::ShortSide { short, .. } => {
                // Python's int(short · long / shorter).
                let long = |long: u32, shorter: u32| {
                    least_one(f64::from(short) * f64::from(long) / f64::from(shorter))
                };
                match width <= height {
                    true => [long(height, width), short as usize],
                    false => [short as usize, long(width, height)],
                }
            }
            Self::LongSide { side } => {
                let scale = f64::from(side) / f64::from(width.max(height));
                [height, width].map(|n| least_one((f64::from(n) * scale).round_ties_even()))
            }
        }
    }

    /// Where the square of `side` starts within a length; negative where it is larger.
    fn offset(self, length: usize, side: usize) -> i64 {
        let (length, side) = (length as i64, side as i64);
        match self {
            Self::LongSide { .. } => -((side - length) / 2),
            _ => ((length - side) as f64 / 2.0).round_ties_even() as i64,
        }
    }
}

/// Channels one after the other, in numbers from 0 to 1.
fn planes(image: &RgbImage) -> Vec<f32> {
    let channel = |channel: usize| {
        image.as_raw().iter().skip(channel).step_by(3).map(|byte| f32::from(*byte) / 255.0)
    };
    (0..3).flat_map(channel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::presets;

    /// torchvision: `int(256 · 640 / 427)` is 383, and `round((383 − 224) / 2)` 80, the even one of 79.5's
    /// neighbours; `round((257 − 224) / 2)` is 16.
    #[test]
    fn sizes_and_offsets_of_torchvision() {
        let resize = Resize::ShortSide { short: 256, side: 224 };
        assert_eq!(resize.target(640, 427), [256, 383]);
        assert_eq!(resize.target(427, 640), [383, 256]);
        assert_eq!([383, 257, 256, 224].map(|n| resize.offset(n, 224)), [80, 16, 16, 0]);
        let long = Resize::LongSide { side: 224 };
        assert_eq!(long.target(768, 512), [149, 224]);
        assert_eq!(long.target(1, 4000), [224, 1], "a side has a pixel");
        assert_eq!([149, 224].map(|n| long.offset(n, 224)), [-37, 0]);
    }

    #[test]
    fn a_grey_image_is_grey_in_every_preset() {
        let grey = RgbImage::from_pixel(50, 40, image::Rgb([51; 3]));
        for preset in [presets::DINO, presets::DINO_V3, presets::CLIP, presets::DREAMSIM] {
            let output = preset.apply(&grey);
            assert_eq!(output.len(), 3 * 224 * 224);
            for (channel, plane) in output.chunks(224 * 224).enumerate() {
                let expected = (0.2 - preset.mean[channel]) / preset.std[channel];
                assert!(plane.iter().all(|x| (x - expected).abs() < 1e-5));
            }
        }
        // 224 × 179 with 22 rows of zeros above and 23 below.
        let output = presets::HPS_V2.apply(&grey);
        let black = -presets::HPS_V2.mean[0] / presets::HPS_V2.std[0];
        let is_black: Vec<bool> =
            output[..224 * 224].chunks(224).map(|row| (row[9] - black).abs() < 1e-6).collect();
        assert_eq!(is_black.iter().take_while(|black| **black).count(), 22);
        assert_eq!(is_black.iter().filter(|black| **black).count(), 45);
    }
}
