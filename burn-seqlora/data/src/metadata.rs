//! Hugging Face `imagefolder` captions: `metadata.jsonl`, one `{"file_name", "text"}` per line.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use seqlora_files::{plain, read_text};
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
/// The file belongs to the data set, so it may name files of its own folder only. A file may be a link
/// to anywhere, as all files in Hugging Face's cache are; a sub-folder that leads out of the folder may not.
///
/// # Errors
/// If a line is not a JSON object, or names a file that is missing, not an image or outside of the
/// folder. The error gives the number of the line.
pub(crate) fn read(folder: &Path) -> Result<Option<Vec<ImageSource>>, DataError> {
    let path = folder.join(FILE_NAME);
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path)?;
    let mut folders = Folders::of(folder)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let images = lines.map(|(number, line)| {
        read_line(&path, line, &mut folders).map_err(|error| match error {
            Wrong::Line(reason) => {
                DataError::manifest(&path, format!("line {}", number + 1), reason)
            }
            Wrong::File(error) => error,
        })
    });
    images.collect::<Result<_, _>>().map(Some)
}

/// What is wrong: with a line, or with a file that it names.
enum Wrong {
    Line(String),
    File(DataError),
}

fn read_line(metadata: &Path, line: &str, folders: &mut Folders) -> Result<ImageSource, Wrong> {
    let line: MetadataLine = serde_json::from_str(line).map_err(|error| {
        let error = plain(&error.to_string());
        Wrong::Line(format!("{error}; expected {{\"file_name\": ..., \"text\": ...}}"))
    })?;
    let bad = |reason: &str| Wrong::Line(format!("file_name `{}`{reason}", line.file_name));
    let path = metadata.with_file_name(&line.file_name);
    if !is_below(Path::new(&line.file_name)) || !folders.holds(&path) {
        return Err(bad(" leads out of the folder; name files inside it"));
    }
    if !path.exists() {
        return Err(bad(" does not exist; remove the line"));
    }
    if let Some(reason) = why_not_an_image(&path).map_err(Wrong::File)? {
        return Err(bad(&format!(": {reason}")));
    }
    let caption = line.text.map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
    let mask = find_mask(&path).map_err(Wrong::File)?;
    Ok(ImageSource { path, caption, mask })
}

/// Whether a path is relative and takes no step up.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The sub-folders that lie inside of a folder, links resolved.
struct Folders {
    root: PathBuf,
    inside: HashSet<PathBuf>,
}

impl Folders {
    fn of(folder: &Path) -> Result<Self, DataError> {
        let root = fs::canonicalize(folder).map_err(DataError::io(folder))?;
        Ok(Self { root, inside: HashSet::new() })
    }

    /// Whether the folder of a file lies inside; one that is not there does.
    fn holds(&mut self, file: &Path) -> bool {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if self.inside.contains(folder) {
            return true;
        }
        let inside = fs::canonicalize(folder).map_or(true, |real| real.starts_with(&self.root));
        if inside {
            self.inside.insert(folder.into());
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{discover, error, tree};

    #[test]
    fn files_outside_of_the_folder_are_refused() {
        let (guard, root) = tree(&[("cat/1.png", ""), ("dog/sub/1.png", "")]);
        let absolute = root.join("cat/1.png").display().to_string();
        for name in ["../cat/1.png", "sub/../../cat/1.png", &absolute] {
            let line = serde_json::json!({ "file_name": name }).to_string();
            std::fs::write(root.join("dog/metadata.jsonl"), line).unwrap();
            let message = error(&root.join("dog"));
            assert!(message.contains("line 1") && message.contains("leads out"), "{message}");
        }
        #[cfg(unix)]
        {
            let line = r#"{"file_name": "out/1.png"}"#;
            std::fs::write(root.join("dog/metadata.jsonl"), line).unwrap();
            std::os::unix::fs::symlink(root.join("cat"), root.join("dog/out")).unwrap();
            assert!(error(&root.join("dog")).contains("leads out of the folder"));
            // As in Hugging Face's cache.
            std::fs::remove_file(root.join("dog/out")).unwrap();
            std::fs::create_dir(root.join("dog/out")).unwrap();
            std::os::unix::fs::symlink(&absolute, root.join("dog/out/1.png")).unwrap();
            assert_eq!(discover(&root.join("dog")).unwrap().concepts[0].images.len(), 1);
        }
        drop(guard);
    }
}
