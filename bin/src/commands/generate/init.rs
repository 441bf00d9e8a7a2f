//! The image that `--init` gives: read, and brought to the size of those that are made.

use std::path::Path;
use std::sync::Arc;

use burn_seqlora::RgbImage;
use burn_seqlora::data::load_rgb;
use burn_seqlora::error::Error;
use burn_seqlora::image::imageops::{FilterType, resize};
use burn_seqlora::pipeline::{Image, ImageSizes, InitImage, SamplingSettings};

use crate::args::Generate;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Diffusers' default.
const STRENGTH: f64 = 0.8;

/// The settings with the image to begin with, if there is one, and the size that it has.
///
/// # Errors
/// If it cannot be read, or the model can make no image of the size.
pub fn with_image(
    args: &Generate,
    settings: SamplingSettings,
    sizes: ImageSizes,
    terminal: &Terminal,
) -> Result<SamplingSettings, Failure> {
    let Some(file) = &args.init else { return Ok(settings) };
    let image = load_rgb(file)?;
    let size = settings.size.unwrap_or_else(|| rounded(&image, sizes.unit));
    sizes.pixels(Some(size)).map_err(wrong_size)?;
    let strength = args.strength.unwrap_or(STRENGTH);
    let image = Arc::new(resized(image, size, file, terminal));
    Ok(SamplingSettings { size: Some(size), init: Some(InitImage { image, strength }), ..settings })
}

/// The library's "size 50x64: …" as the option that was given.
pub fn wrong_size(error: Error) -> Failure {
    Failure::Usage(format!("--{error}"))
}

/// The image's size in whole multiples of the model's unit, as diffusers rounds it down.
fn rounded(image: &RgbImage, unit: usize) -> [usize; 2] {
    [image.width(), image.height()].map(|side| (side as usize / unit).max(1) * unit)
}

/// The image stretched to a size, which is told if it is another one.
fn resized(
    image: RgbImage,
    [width, height]: [usize; 2],
    file: &Path,
    terminal: &Terminal,
) -> Image {
    let (old_width, old_height) = image.dimensions();
    let image = match [old_width as usize, old_height as usize] == [width, height] {
        true => image,
        false => {
            let file = file.display();
            terminal.line("init", format!("{file}: {old_width}x{old_height} to {width}x{height}"));
            resize(&image, width as u32, height as u32, FilterType::Lanczos3)
        }
    };
    Image { width, height, rgb: image.into_raw() }
}
