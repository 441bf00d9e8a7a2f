//! Reference images of things that do not exist.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, Rgb, RgbImage};

const SIDE: u32 = 32;

/// A square in the colour of `name` on grey; no symmetry, so that turning it shows.
pub fn image(name: &str, number: u32) -> RgbImage {
    let letter = |index: usize| 40 + name.as_bytes()[index % name.len()].wrapping_mul(37) % 200;
    let colour = Rgb([letter(0), letter(1), letter(2)]);
    let grey = Rgb([90 + 40 * number as u8; 3]);
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let thing = (6 + number..22).contains(&x) && (4..16).contains(&y) && x + y < 34;
        if thing { colour } else { grey }
    })
}

/// Writes two images of a thing into a folder.
pub fn write_photos(folder: &Path, name: &str) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..2 {
        image(name, number).save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// The same image as a PNG with 16 bits per channel.
pub fn sixteen_bit_png(image: &RgbImage) -> Vec<u8> {
    let deep = image.as_raw().iter().map(|value| u16::from(*value) * 257).collect();
    let deep = ImageBuffer::<Rgb<u16>, _>::from_vec(image.width(), image.height(), deep);
    let mut bytes = Cursor::new(Vec::new());
    let deep = DynamicImage::ImageRgb16(deep.expect("as many values as before"));
    deep.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The same image as a camera on its side stores it: turned left, with EXIF's "turn right".
pub fn turned_png(image: &RgbImage) -> Vec<u8> {
    // One big-endian TIFF directory with Orientation (0x0112) = 6.
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = image::imageops::rotate270(image);
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.write_image(&turned, turned.width(), turned.height(), ExtendedColorType::Rgb8).unwrap();
    bytes
}
