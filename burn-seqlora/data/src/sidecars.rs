//! The caption and the mask that belong to an image: files next to it with the same stem.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::sniff::lower;
use super::source::ImageSource;

/// The possible names of the folder with the masks of the images next to it.
pub(crate) const MASK_FOLDERS: [&str; 4] = ["masks", "mask", "Masks", "Mask"];

/// The image `path` with the caption and the mask that lie next to it.
///
/// # Errors
/// If the caption is not a UTF-8 text file.
pub(crate) fn with_sidecars(path: PathBuf) -> Result<ImageSource, DataError> {
    let caption = match caption_files(&path).into_iter().find(|file| file.is_file()) {
        Some(file) => first_line(&file)?,
        None => None,
    };
    let mask = find_mask(&path);
    Ok(ImageSource { path, caption, mask })
}

/// The mask of the image `path`: `masks/<stem>.png`, `mask/<stem>.png`, `<stem>_mask.png` or
/// `<stem>.mask.png`, the first that exists.
pub(crate) fn find_mask(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let stem = path.file_stem()?.to_str()?;
    let file = format!("{stem}.png");
    let inside = MASK_FOLDERS.map(|name| folder.join(name).join(&file));
    let next_to = ["_mask.png", ".mask.png"].map(|end| folder.join(format!("{stem}{end}")));
    inside.into_iter().chain(next_to).find(|mask| mask.is_file())
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
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| DataError::manifest(path, "caption", "not UTF-8 text; save it as UTF-8"))?;
    // Windows editors begin a file with a byte-order mark, which would become a token of the prompt.
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or("").trim();
    Ok((!line.is_empty()).then(|| line.to_string()))
}
