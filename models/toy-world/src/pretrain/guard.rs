//! Locking the folder of a pretraining, and copying files into it: never through a link.

use std::fs;
use std::io;
use std::path::Path;

use seqlora_core::error::{Error, Result};
use seqlora_files::{FolderLock, GuardedFolder, open_regular, open_to_write};
use seqlora_models::weights::ModelError;

/// Where files are written below the folder of a pretraining.
const WRITTEN: [&str; 11] = [
    "model/classifier",
    "model/curves",
    "model/scheduler",
    "model/text_encoder",
    "model/tokenizer",
    "model/unet",
    "model/vae",
    "training/autoencoder",
    "training/classifier",
    "training/denoiser",
    "training/text-encoder",
];

/// Creates a folder if it is missing, and takes its lock.
///
/// # Errors
/// If it cannot be created, another process has it, or a folder below it is a link.
pub fn lock(folder: &Path) -> Result<FolderLock> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    let lock = FolderLock::take(folder)?;
    let guarded = GuardedFolder::new(folder);
    for inside in WRITTEN {
        guarded.check(inside)?;
    }
    Ok(lock)
}

/// Copies the files of a folder, without its subfolders.
///
/// # Errors
/// If a file cannot be read or written, or a link is in the way.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), ModelError> {
    for entry in fs::read_dir(from).map_err(ModelError::io(from))? {
        let file = entry.map_err(ModelError::io(from))?.path();
        if let Some(name) = file.file_name().filter(|_| file.is_file()) {
            copy_file(&file, &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies a file, and creates the folder that it goes to.
///
/// # Errors
/// If a file cannot be read or written, or a link is in the way.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), ModelError> {
    let folder = to.parent().expect("a file in a folder");
    fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    let ((mut from, _), mut copy) = (open_regular(from)?, open_to_write(to)?);
    let copied = copy.set_len(0).and_then(|()| io::copy(&mut from, &mut copy));
    copied.map(drop).map_err(ModelError::io(to))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_written_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("victim")).unwrap();
        fs::write(path("victim/file"), "kept").unwrap();
        for inside in ["model", "model/vae", "training/denoiser"] {
            let out = path(&inside.replace('/', " "));
            fs::create_dir_all(out.join(inside).parent().unwrap()).unwrap();
            symlink(path("victim"), out.join(inside)).unwrap();
            let error = lock(&out).unwrap_err().to_string();
            assert!(error.contains("symbolic link"), "{inside}: {error}");
        }
        fs::write(path("new"), "new").unwrap();
        symlink(path("victim/file"), path("link")).unwrap();
        let error = copy_file(&path("new"), &path("link")).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(fs::read_dir(path("victim")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(path("victim/file")).unwrap(), "kept");
        copy_file(&path("link"), &path("new")).unwrap();
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "kept", "reading follows links");
    }
}
