//! Small data sets in temporary folders, for this crate's tests.

use std::fs;
use std::path::{Path, PathBuf};

use image::{GrayImage, Luma};
use tempfile::TempDir;

use super::{DataError, DiscoverOptions, Manifest};

/// A folder `photos` holding `files` of (path, content). An image file with empty content
/// becomes a real image of 2x2 pixels.
pub(crate) fn tree(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("photos");
    fs::create_dir(&root).unwrap();
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if content.is_empty() && image::ImageFormat::from_path(&path).is_ok() {
            GrayImage::from_pixel(2, 2, Luma([9])).save(&path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
    }
    (folder, root)
}

/// [`Manifest::discover`] without options.
pub(crate) fn discover(path: &Path) -> Result<Manifest, DataError> {
    Manifest::discover(path, &DiscoverOptions::default())
}

/// The message of the error that [`discover`] must return.
pub(crate) fn error(path: &Path) -> String {
    discover(path).unwrap_err().to_string()
}

/// `id/class/number of images` of each concept.
pub(crate) fn summary(manifest: &Manifest) -> Vec<String> {
    let line = |c: &super::ConceptSource| format!("{}/{}/{}", c.id, c.class_word, c.images.len());
    manifest.concepts.iter().map(line).collect()
}
