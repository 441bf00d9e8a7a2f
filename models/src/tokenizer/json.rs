//! Reading the JSON files of a tokenizer folder, most of which are optional.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::TokenizerError;

/// Reads a JSON file; `None` if it does not exist.
///
/// # Errors
/// If it cannot be read or parsed.
pub(super) fn read_json_if_present<T: DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, TokenizerError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TokenizerError::Read { path: path.to_path_buf(), source }),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| TokenizerError::Parse { path: path.to_path_buf(), source })
}
