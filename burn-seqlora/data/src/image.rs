//! Reading images: files of any colour type become upright 8-bit RGB.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};

use seqlora_files::read_bytes;

use super::error::DataError;
use super::{jpeg, limits};

/// The largest size of a decoded image: a 100 megapixel photo with four 8-bit channels and a margin.
/// Without a limit, a small damaged file could ask for any amount of memory.
const MAX_BYTES: u64 = 512 << 20;

/// Decoded bytes that any file may have.
const SMALL: u64 = 16 << 20;

/// Decoded bytes per byte of a larger file: at most 1032 in a PNG and 1024 in a JPEG. WebP packs images of
/// a single colour tighter, but they are no photos.
const MOST_PER_BYTE: u64 = 4096;

/// Reads an image as a viewer shows it: rotated by its EXIF orientation, blended over white where it
/// is transparent, and 16 bits per channel rounded to 8. The content decides the format, not the name.
///
/// Colour profiles are ignored, as in the Python trainers. Four-channel JPEGs (CMYK, YCCK) are
/// converted if Adobe's marker says how they are stored.
///
/// # Errors
/// [`DataError::File`] if it is no regular file or has more than 512 MiB, [`DataError::Image`] if it is not
/// a PNG, JPEG, WebP or BMP image, is damaged or truncated, would be larger than a file of its size can
/// hold, or is a four-channel JPEG without Adobe's marker.
pub fn load_rgb(path: &Path) -> Result<RgbImage, DataError> {
    decode_rgb(path, read(path)?)
}

/// The bytes of an image file.
///
/// # Errors
/// [`DataError::File`], as [`load_rgb`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    Ok(read_bytes(path, limits::IMAGE_FILE)?)
}

/// [`load_rgb`] of a file that was read.
///
/// # Errors
/// [`DataError::Image`], as [`load_rgb`].
pub(crate) fn decode_rgb(path: &Path, bytes: Vec<u8>) -> Result<RgbImage, DataError> {
    let image = decode(path, bytes)?;
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let over_white = |c: u8, alpha: u8| {
        let (c, alpha) = (u32::from(c), u32::from(alpha));
        ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let rgba = image.into_rgba8();
    Ok(RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        Rgb([over_white(r, a), over_white(g, a), over_white(b, a)])
    }))
}

/// Decodes a file that was read without changing its colour type, and turns it upright.
///
/// # Errors
/// [`DataError::Image`], as [`load_rgb`].
pub(crate) fn decode(path: &Path, bytes: Vec<u8>) -> Result<DynamicImage, DataError> {
    const REPLACE: &str = "replace the file, or move it out of the folder";
    let format = match image::guess_format(&bytes) {
        Ok(
            format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Bmp),
        ) => format,
        _ => {
            let fix = "convert it to PNG or JPEG, or move it out of the folder";
            return Err(DataError::image(path, "not a PNG, JPEG, WebP or BMP image", fix));
        }
    };
    if format == ImageFormat::Jpeg {
        check_jpeg(path, &bytes)?;
    }
    let broken = |error: image::ImageError| DataError::image(path, error, REPLACE);
    let most = SMALL.max(MOST_PER_BYTE.saturating_mul(bytes.len() as u64));
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    if decoder.total_bytes() > MAX_BYTES {
        let (width, height) = decoder.dimensions();
        let reason = format!("{width}x{height} pixels are too many");
        return Err(DataError::image(path, reason, "scale it down below 100 megapixels"));
    }
    if decoder.total_bytes() > most {
        let (width, height) = decoder.dimensions();
        let reason = format!("the file is too small for {width}x{height} pixels");
        return Err(DataError::image(path, reason, REPLACE));
    }
    // Damaged EXIF data do not mean that the image is damaged.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn check_jpeg(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let markers = jpeg::markers(bytes);
    if !markers.complete {
        let fix = "the file is truncated: copy or download it again";
        return Err(DataError::image(path, "the JPEG data end before the image does", fix));
    }
    // Without the marker it is unknown whether 255 means full ink or no ink, so the image might be
    // read as its negative.
    if markers.channels == 4 && !markers.adobe {
        let fix = "convert it to RGB in an image editor";
        return Err(DataError::image(path, "a CMYK JPEG without Adobe's marker", fix));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, RgbaImage};

    /// Eight 8-pixel wide columns, saved by Pillow 13 as an Adobe (inverted) CMYK JPEG: tests/reference/
    /// make_image.py.
    const CMYK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/images/cmyk.jpg");

    /// What Pillow's `convert("RGB")` says of the middle of each column.
    const CMYK_COLOURS: [[u8; 3]; 8] = [
        [255, 255, 255],
        [0, 0, 0],
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 0],
        [128, 128, 128],
        [200, 137, 75],
    ];

    /// A JPEG, 16 wide and 8 high, left half white.
    fn jpeg() -> Vec<u8> {
        let image = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 255 } else { 0 }]));
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg).unwrap();
        bytes
    }

    fn write(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        // The wrong extension is deliberate: the content decides the format.
        let path = folder.path().join("photo.png");
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.into().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    #[test]
    fn exif_orientation_turns_the_image_upright() {
        let mut bytes = jpeg();
        // APP1 segment: one big-endian TIFF directory with Orientation (0x0112) = 6, "turn right".
        let mut exif =
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let length = (exif.len() + 2) as u16;
        exif.splice(0..0, [0xFF, 0xE1].into_iter().chain(length.to_be_bytes()));
        bytes.splice(2..2, exif);
        let (_folder, path) = write(&bytes);
        let image = load_rgb(&path).unwrap();
        assert_eq!(image.dimensions(), (8, 16));
        assert!(image.get_pixel(4, 2).0[0] > 250, "the white half belongs on top");
        assert!(image.get_pixel(4, 13).0[0] < 5);
    }

    #[test]
    fn sixteen_bit_and_transparent_images_become_8_bit_rgb() {
        let values = [0u16, 128, 129, 257 * 100, 65535];
        let deep = ImageBuffer::<Luma<u16>, _>::from_vec(5, 1, values.to_vec()).unwrap();
        let (_folder, path) = write(&png(deep));
        let grey: Vec<u8> = load_rgb(&path).unwrap().pixels().map(|p| p.0[1]).collect();
        assert_eq!(grey, [0, 0, 1, 100, 255], "v / 257, rounded; not the upper byte");

        let pixels = vec![255, 0, 0, 255, 255, 0, 0, 0, 255, 0, 0, 128];
        let (_folder, path) = write(&png(RgbaImage::from_vec(3, 1, pixels).unwrap()));
        let rgb: Vec<[u8; 3]> = load_rgb(&path).unwrap().pixels().map(|p| p.0).collect();
        assert_eq!(rgb, [[255, 0, 0], [255, 255, 255], [255, 127, 127]]);

        let (_folder, path) = write(&png(GrayAlphaImage::from_pixel(1, 1, LumaA([0, 0]))));
        assert_eq!(load_rgb(&path).unwrap().get_pixel(0, 0).0, [255, 255, 255]);
    }

    #[test]
    fn cmyk_colours_agree_with_pillow() {
        let image = load_rgb(Path::new(CMYK)).unwrap();
        for (column, expected) in CMYK_COLOURS.iter().enumerate() {
            let found = image.get_pixel(column as u32 * 8 + 4, 8).0;
            let difference = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(difference <= 2, "column {column}: {found:?}, expected {expected:?}");
        }
        // The same file without the Adobe segment (FF EE, 14 bytes) is ambiguous.
        let mut bytes = fs::read(CMYK).unwrap();
        let at = bytes.windows(2).position(|pair| pair == [0xFF, 0xEE]).unwrap();
        bytes.drain(at..at + 16);
        let (_folder, path) = write(&bytes);
        assert!(load_rgb(&path).unwrap_err().to_string().contains("convert it to RGB"));
    }

    #[test]
    fn truncated_files_are_errors_that_name_the_file() {
        let noise = GrayImage::from_fn(64, 64, |x, y| Luma([(x * 37 + y * y * 11) as u8]));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
            let mut bytes = Vec::new();
            let image =
                DynamicImage::ImageRgb8(DynamicImage::ImageLuma8(noise.clone()).into_rgb8());
            image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
            for part in [0, 20, bytes.len() / 2, bytes.len() - 20] {
                let (_folder, path) = write(&bytes[..part]);
                let error = load_rgb(&path).unwrap_err().to_string();
                assert!(error.contains("photo.png"), "{format:?} {part}: {error}");
            }
        }
    }
}
