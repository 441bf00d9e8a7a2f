//! Hugging Face `imagefolder` captions: `metadata.jsonl`, one `{"file_name", "text"}` per line.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::error::DataError;
use super::sidecars::find_mask;
use super::sniff::why_not_an_image;
use super::source::ImageSource;

/// Name of the file.
pub(crate) const FILE_NAME: &str = "metadata.jsonl";

/// One line. Data sets have further columns (width, url, ...), which are ignored.
#[derive(Deserialize)]
struct MetadataLine {
    file_name: String,
    #[serde(alias = "caption")]
    text: Option<String>,
}

/// Whether `path` is the metadata file itself.
pub(crate) fn is_metadata(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE_NAME)
}

/// Reads `folder/metadata.jsonl`; `None` if there is none. The images are in the order of its lines.
///
/// # Errors
/// If a line is not a JSON object, or names a file that is missing or not an image. The error gives
/// the number of the line.
pub(crate) fn read(folder: &Path) -> Result<Option<Vec<ImageSource>>, DataError> {
    let path = folder.join(FILE_NAME);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(DataError::io(&path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| read_line(&path, number + 1, line))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn read_line(metadata: &Path, number: usize, line: &str) -> Result<ImageSource, DataError> {
    let bad = |reason: String| DataError::manifest(metadata, format!("line {number}"), reason);
    let line: MetadataLine = serde_json::from_str(line)
        .map_err(|error| bad(format!("{error}; expected {{\"file_name\": ..., \"text\": ...}}")))?;
    let path = metadata.with_file_name(&line.file_name);
    if !path.is_file() {
        return Err(bad(format!("file_name `{}` does not exist; remove the line", line.file_name)));
    }
    if let Some(reason) = why_not_an_image(&path)? {
        return Err(bad(format!("file_name `{}`: {reason}", line.file_name)));
    }
    let caption = line.text.map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
    Ok(ImageSource { mask: find_mask(&path), path, caption })
}
