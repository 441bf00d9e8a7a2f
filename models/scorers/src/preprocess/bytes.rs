//! Pillow's resampling of images of bytes, bit for bit.
//!
//! Pillow resizes rows and columns one after the other, with weights in fixed-point numbers of 22 binary
//! places, and rounds to bytes after each pass. Rows come first, but since version 13 columns do if the
//! height loses more than twice as many pixels as the width. Up to version 12 the result differs in such
//! sizes, by 22 of 255 where edges are hard.

use std::ops::Range;

use image::RgbImage;
use rayon::prelude::*;

use super::filter::{Filter, Taps};

/// Binary places of a weight: 32 less the 8 of a byte and 2 that keep sums from overflowing.
const PLACES: u32 = 22;

/// The weights of one output in fixed-point numbers.
struct Fixed {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes an image as `PIL.Image.resize` does.
///
/// # Panics
/// If a side is zero.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let window = [0..height as usize, 0..width as usize];
    resize_window(image, [height as usize, width as usize], window, filter)
}

/// A window, rows and columns, of an image that is resized to `[height, width]`. Only what lies in the
/// window is computed: a strip of a thousand times its width would not fit into memory.
pub(super) fn resize_window(
    image: &RgbImage,
    [height, width]: [usize; 2],
    [rows_of, columns_of]: [Range<usize>; 2],
    filter: Filter,
) -> RgbImage {
    let [from_width, from_height] = [image.width() as usize, image.height() as usize];
    let (window_width, window_height) = (columns_of.len(), rows_of.len());
    let sides = [from_width, from_height, window_width, window_height];
    assert!(!sides.contains(&0), "an image without pixels");
    let across = fixed(filter, from_width, width, columns_of);
    let down = fixed(filter, from_height, height, rows_of);
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let columns_first =
        lost(from_height, height) > 0 && lost(from_height, height) > 2 * lost(from_width, width);
    let bytes = match columns_first {
        true => rows(&columns(image.as_raw(), from_width * 3, &down), from_width, &across),
        false => columns(&rows(image.as_raw(), from_width, &across), window_width * 3, &down),
    };
    let [width, height] = [window_width, window_height].map(|n| n as u32);
    RgbImage::from_raw(width, height, bytes).expect("the bytes of an image of that size")
}

/// The weights of the outputs in `range`. At the size of the inputs each output is its input, which
/// Pillow does not even compute.
fn fixed(filter: Filter, inputs: usize, outputs: usize, range: Range<usize>) -> Vec<Fixed> {
    let number = |weight: &f64| {
        let half = if *weight < 0.0 { -0.5 } else { 0.5 };
        (weight * f64::from(1u32 << PLACES) + half) as i32
    };
    let convert = |Taps { first, weights }: Taps| Fixed {
        first,
        weights: weights.iter().map(number).collect(),
    };
    if inputs == outputs {
        return range.map(|first| Fixed { first, weights: vec![1 << PLACES] }).collect();
    }
    filter.taps(inputs, outputs, range).into_iter().map(convert).collect()
}

/// Resizes each row of RGB pixels.
fn rows(bytes: &[u8], width: usize, taps: &[Fixed]) -> Vec<u8> {
    let pixels = |row: &[u8]| {
        let pixel = |Fixed { first, weights }: &Fixed| {
            let channel = |channel: usize| {
                let inputs = row[first * 3 + channel..].iter().step_by(3);
                byte(weights.iter().zip(inputs))
            };
            [channel(0), channel(1), channel(2)]
        };
        taps.iter().flat_map(pixel).collect::<Vec<u8>>()
    };
    bytes.par_chunks(width * 3).flat_map_iter(pixels).collect()
}

/// Resizes each column of rows of `stride` bytes.
fn columns(bytes: &[u8], stride: usize, taps: &[Fixed]) -> Vec<u8> {
    let row = |Fixed { first, weights }: &Fixed| {
        let place = first * stride;
        let output = |column: usize| {
            byte(weights.iter().zip(bytes[place + column..].iter().step_by(stride)))
        };
        (0..stride).map(output).collect::<Vec<u8>>()
    };
    taps.par_iter().flat_map_iter(row).collect()
}

/// The weighted sum of bytes, rounded to a byte.
fn byte<'a>(terms: impl Iterator<Item = (&'a i32, &'a u8)>) -> u8 {
    let half = 1i32 << (PLACES - 1);
    let sum = terms.fold(half, |sum, (weight, byte)| sum + weight * i32::from(*byte));
    (sum >> PLACES).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_image_stays_plain_and_the_same_size_is_the_same_image() {
        let plain = RgbImage::from_pixel(13, 7, image::Rgb([3, 130, 255]));
        for (width, height) in [(5, 40), (13, 2), (1, 1)] {
            let resized = resize(&plain, width, height, Filter::Bicubic);
            assert!(resized.pixels().all(|pixel| pixel.0 == [3, 130, 255]));
        }
        let noise = RgbImage::from_fn(9, 4, |x, y| image::Rgb([(x * 77 + y * 31) as u8; 3]));
        assert_eq!(resize(&noise, 9, 4, Filter::Bilinear), noise);
    }
}
