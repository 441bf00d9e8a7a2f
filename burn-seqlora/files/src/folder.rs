//! Folders that are there with all of their files, or not at all.

use std::fs;
use std::path::Path;

use tempfile::Builder;

use crate::error::{FileError, Result};
use crate::open::sync_folder;
use crate::storage::{Disk, Storage, TEMPORARY, folder_of};

/// Makes a folder with these files, unless it is there. Returns whether it was made. The folder around it has to be there.
/// Several processes may make the same one.
///
/// # Errors
/// If the disk is full or the folder cannot be written.
pub fn write_new_folder<E: From<FileError>>(
    path: &Path,
    files: impl Iterator<Item = Result<(String, Vec<u8>), E>>,
) -> Result<bool, E> {
    let parent = folder_of(path);
    let failed = |error| FileError::io("cannot write", path)(error);
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let folder = builder.prefix(TEMPORARY).tempdir_in(parent).map_err(failed)?;
    for file in files {
        let (name, bytes) = file?;
        let file = folder.path().join(name);
        Disk.write(&file, 0, &bytes)?;
        Disk.sync(&file)?;
    }
    Disk.sync(folder.path())?;
    match fs::rename(folder.path(), path) {
        Ok(()) => {
            // It is no temporary one any more.
            let _ = folder.keep();
            sync_folder(parent).map_err(failed)?;
            Ok(true)
        }
        Err(_) if path.is_dir() => Ok(false),
        Err(error) => Err(failed(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(contents: &[&str]) -> impl Iterator<Item = Result<(String, Vec<u8>)>> {
        let file = |(n, text): (usize, &&str)| Ok((n.to_string(), text.as_bytes().to_vec()));
        contents.iter().enumerate().map(file).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn a_folder_is_whole_or_absent() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new");
        let damaged = || FileError::damaged(&path)("no");
        let broken = files(&["a"]).chain([Err(damaged())]);
        assert!(write_new_folder(&path, broken).is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "nothing is left");
        assert!(write_new_folder(&path, files(&["a", "b"])).unwrap());
        assert!(!write_new_folder(&path, files(&["c"])).unwrap(), "the first one stays");
        assert_eq!(fs::read(path.join("1")).unwrap(), b"b");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
