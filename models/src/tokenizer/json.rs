//! Reading the files of a tokenizer folder, most of which are optional.

use std::path::Path;

use seqlora_files::{FileError, parse_object, read_bytes};
use serde::de::DeserializeOwned;

use super::error::TokenizerError;

/// The largest file that is read. CLIP's `tokenizer.json` has 2 MB.
const LIMIT: u64 = 16 << 20;

/// Reads a JSON file; `None` if it does not exist.
///
/// # Errors
/// If it is no regular file of at most 16 MiB, or cannot be parsed.
pub(super) fn read_json_if_present<T: DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, TokenizerError> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(TokenizerError::File(FileError::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    parse_object(&text)
        .map(Some)
        .map_err(|reason| TokenizerError::Parse { path: path.to_path_buf(), reason })
}

/// Reads a text file.
///
/// # Errors
/// If it is missing, no regular file of at most 16 MiB, or not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String, TokenizerError> {
    String::from_utf8(read_bytes(path, LIMIT)?).map_err(|_| TokenizerError::Parse {
        path: path.to_path_buf(),
        reason: "it is not UTF-8".into(),
    })
}
