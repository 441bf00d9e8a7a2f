//! Images as PNG files.

use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::error::{Error, Result};
use burn_seqlora::files::{read_bytes, write_atomic, write_new};
use burn_seqlora::pipeline::Image;
use image::{ImageFormat, RgbImage};

/// Bytes of an image that is read back.
const LARGEST_PNG: u64 = 64 << 20;

/// An image of the pipeline.
pub fn to_rgb_image(image: Image) -> RgbImage {
    RgbImage::from_raw(image.width as u32, image.height as u32, image.rgb)
        .expect("three bytes per pixel")
}

/// A batch of decoded images, `[images, 3, height, width]` in [−1, 1], one by one as 8-bit RGB.
///
/// # Errors
/// If one holds numbers that are not finite.
pub fn all_to_rgb<B: Backend>(pixels: Tensor<B, 4>) -> Result<Vec<RgbImage>> {
    let one = |number| Ok(to_rgb_image(Image::from_pixels(pixels.clone().narrow(0, number, 1))?));
    (0..pixels.dims()[0]).map(one).collect()
}

/// Reads an image that this program wrote.
///
/// # Errors
/// If it is not there or damaged.
pub fn read_png(path: &Path) -> Result<RgbImage> {
    let bytes = read_bytes(path, LARGEST_PNG)?;
    let image = image::load_from_memory_with_format(&bytes, ImageFormat::Png);
    Ok(image.map_err(|e| Error::damaged(path, e))?.into_rgb8())
}

/// Writes a PNG with its settings as the text `parameters`, where other tools look for them.
///
/// # Errors
/// If the file cannot be written.
pub fn write_png(path: &Path, image: &RgbImage, parameters: &str) -> Result<()> {
    let bytes = encode_png(image, parameters).map_err(Error::io("cannot write", path))?;
    Ok(write_atomic(path, &bytes)?)
}

/// [`write_png`] as `00000.png` in a folder, or with the first number from `number` on that no file
/// has; returns the number.
///
/// # Errors
/// If the file cannot be written.
pub fn write_numbered(
    folder: &Path,
    mut number: usize,
    image: &RgbImage,
    parameters: &str,
) -> Result<usize> {
    let bytes = encode_png(image, parameters).map_err(Error::io("cannot write to", folder))?;
    while !write_new(&numbered(folder, number), &bytes)? {
        number += 1;
    }
    Ok(number)
}

/// The name of an image with a number.
pub fn numbered(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:05}.png"))
}

/// The bytes of a PNG file with its settings as the text `parameters`.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode_png(image: &RgbImage, parameters: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk("parameters".into(), parameters.into())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image)?;
    writer.finish()?;
    Ok(bytes)
}

/// Images of one size in rows, with a gap between them.
pub fn contact_sheet(rows: &[Vec<RgbImage>]) -> RgbImage {
    const GAP: u32 = 4;
    let cell = rows.iter().flatten().next().map_or((1, 1), RgbImage::dimensions);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let (width, height) =
        (columns * (cell.0 + GAP) + GAP, rows.len() as u32 * (cell.1 + GAP) + GAP);
    let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255, 255, 255]));
    for (y, row) in rows.iter().enumerate() {
        for (x, image) in row.iter().enumerate() {
            let left = GAP + x as u32 * (cell.0 + GAP);
            let top = GAP + y as u32 * (cell.1 + GAP);
            image::imageops::replace(&mut sheet, image, left as i64, top as i64);
        }
    }
    sheet
}
