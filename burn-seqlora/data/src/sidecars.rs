//! The caption and the mask that belong to an image: files next to it with the same stem.

use std::path::{Path, PathBuf};

use seqlora_files::{FileError, read_bytes};

use super::error::DataError;
use super::sniff::lower;
use super::source::ImageSource;

/// The possible names of the folder with the masks of the images next to it.
pub(crate) const MASK_FOLDERS: [&str; 4] = ["masks", "mask", "Masks", "Mask"];

/// Bytes of a caption file, of which only the first line is used.
const CAPTION_FILE: u64 = 1 << 20;

/// The image `path` with the caption and the mask that lie next to it.
///
/// # Errors
/// If the caption is not a UTF-8 text file, or the mask is no file.
pub(crate) fn with_sidecars(path: PathBuf) -> Result<ImageSource, DataError> {
    let caption = match caption_files(&path).into_iter().find(|file| stands_there(file)) {
        Some(file) => first_line(&file)?,
        None => None,
    };
    let mask = find_mask(&path)?;
    Ok(ImageSource { path, caption, mask })
}

/// The mask of the image `path`: `masks/<stem>.png`, `mask/<stem>.png`, `<stem>_mask.png` or
/// `<stem>.mask.png`, the first that exists.
///
/// # Errors
/// If it is no regular file.
pub(crate) fn find_mask(path: &Path) -> Result<Option<PathBuf>, DataError> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(None) };
    let named = |end: &str| {
        let mut name = stem.to_os_string();
        name.push(end);
        name
    };
    let inside = MASK_FOLDERS.map(|name| folder.join(name).join(named(".png")));
    let next_to = ["_mask.png", ".mask.png"].map(|end| folder.join(named(end)));
    let mask = inside.into_iter().chain(next_to).find(|mask| stands_there(mask));
    mask.map(regular).transpose()
}

/// # Errors
/// If it is no regular file, which could be waited for without end.
pub(crate) fn regular(path: PathBuf) -> Result<PathBuf, DataError> {
    if path.is_file() { Ok(path) } else { Err(FileError::NotRegular { path }.into()) }
}

/// Whether there is something that is no folder. What is no regular file is refused when it is read.
fn stands_there(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// The files that may hold the caption of `image`; the first one that exists is used.
pub(crate) fn caption_files(image: &Path) -> [PathBuf; 2] {
    ["txt", "caption"].map(|extension| image.with_extension(extension))
}

/// Whether a file is called as the mask of an image next to it.
pub(crate) fn is_mask_name(path: &Path) -> bool {
    let stem = lower(path.file_stem());
    lower(path.extension()) == "png" && (stem.ends_with("_mask") || stem.ends_with(".mask"))
}

/// The first line of a text file, trimmed; `None` if it is blank.
fn first_line(path: &Path) -> Result<Option<String>, DataError> {
    let bytes = read_bytes(path, CAPTION_FILE)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| DataError::manifest(path, "caption", "not UTF-8 text; save it as UTF-8"))?;
    // Windows editors begin a file with a byte-order mark, which would become a token of the prompt.
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or("").trim();
    Ok((!line.is_empty()).then(|| line.to_string()))
}
