//! Whether a file is an image, judged by its first bytes.

use std::io::Read;
use std::path::Path;

use image::ImageFormat;
use seqlora_files::{FileError, open_regular};

use super::error::DataError;

/// The extensions of image files, whether or not the format can be read.
const IMAGE_EXTENSIONS: [&str; 15] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic",
    "heif", "jxl", "jp2",
];

/// Why the file `path` cannot be a training image; `None` if it looks like one. It reads the first
/// 32 bytes, because the name alone would accept HEIC photos and saved web pages.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn why_not_an_image(path: &Path) -> Result<Option<String>, DataError> {
    let extension = lower(path.extension());
    if !extension.is_empty() && !IMAGE_EXTENSIONS.contains(&extension.as_str()) {
        return Ok(Some("not an image".into()));
    }
    if !path.exists() {
        return Ok(Some("broken link".into()));
    }
    let (file, _) = match open_regular(path) {
        Err(FileError::NotRegular { .. }) => return Ok(Some("not a regular file".into())),
        opened => opened?,
    };
    let mut head = Vec::new();
    file.take(32).read_to_end(&mut head).map_err(DataError::io(path))?;
    let kind = match image::guess_format(&head).ok() {
        _ if head.is_empty() => return Ok(Some("empty file".into())),
        Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Bmp) => {
            return Ok(None);
        }
        Some(format) => format.extensions_str()[0].to_uppercase(),
        None if head.get(4..8) == Some(b"ftyp") => "HEIC/AVIF".into(),
        None if extension.is_empty() => return Ok(Some("not an image".into())),
        None => return Ok(Some(format!("named .{extension}, but holds no image"))),
    };
    Ok(Some(format!("{kind} images are not supported: convert it to PNG or JPEG")))
}

/// A part of a file name, in lower case.
pub(crate) fn lower(name: Option<&std::ffi::OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().to_lowercase()
}
