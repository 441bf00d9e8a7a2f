//! Pictures as PNG files.

use std::io;
use std::path::Path;

use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::bank::write_atomic;
use burn_seqlora::error::{Error, Result};
use image::RgbImage;

/// One decoded picture, `[1, 3, height, width]` in [−1, 1], as 8-bit RGB.
pub fn to_rgb<B: Backend>(pixels: Tensor<B, 4>) -> RgbImage {
    let [_, _, height, width] = pixels.dims();
    let values: Vec<f32> = pixels.permute([0, 2, 3, 1]).to_data().iter::<f32>().collect();
    let byte = |x: f32| ((x.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    RgbImage::from_raw(width as u32, height as u32, values.into_iter().map(byte).collect())
        .expect("three values per pixel")
}

/// Writes a PNG with its settings as the text `parameters`, where other tools look for them.
///
/// # Errors
/// If the file cannot be written.
pub fn write_png(path: &Path, picture: &RgbImage, parameters: &str) -> Result<()> {
    let bytes = encode_png(picture, parameters).map_err(Error::io("cannot write", path))?;
    write_atomic(path, &bytes)
}

fn encode_png(picture: &RgbImage, parameters: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk("parameters".into(), parameters.into())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture)?;
    writer.finish()?;
    Ok(bytes)
}

/// Pictures of one size in rows, with a gap between them.
pub fn contact_sheet(rows: &[Vec<RgbImage>]) -> RgbImage {
    const GAP: u32 = 4;
    let cell = rows.iter().flatten().next().map_or((1, 1), RgbImage::dimensions);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let (width, height) =
        (columns * (cell.0 + GAP) + GAP, rows.len() as u32 * (cell.1 + GAP) + GAP);
    let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255, 255, 255]));
    for (y, row) in rows.iter().enumerate() {
        for (x, picture) in row.iter().enumerate() {
            let left = GAP + x as u32 * (cell.0 + GAP);
            let top = GAP + y as u32 * (cell.1 + GAP);
            image::imageops::replace(&mut sheet, picture, left as i64, top as i64);
        }
    }
    sheet
}
