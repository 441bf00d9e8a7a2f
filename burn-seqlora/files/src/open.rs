//! Opening files that strangers may have made: regular files only, and no writing through links.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{FileError, Result};

/// The largest text file that is read: JSON, captions, lists. `vocab.json` of CLIP has 1 MB, a list of
/// 10^6 images about 100 MB.
pub const TEXT_LIMIT: u64 = 256 << 20;

/// Opens a file to read it, and tells its length. Links are followed: Hugging Face's cache is made of
/// them.
///
/// # Errors
/// If it cannot be opened, or is a pipe, a device, a socket or a folder, which could block or never end.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe without a writer would block the opening itself.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(FileError::io("cannot read", path))?;
    let metadata = file.metadata().map_err(FileError::io("cannot read", path))?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(FileError::NotRegular { path: path.into() }),
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`], or [`FileError::TooLarge`].
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let too_large = || FileError::TooLarge { path: path.into(), limit };
    if length > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // It may grow while it is read.
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    match read.map_err(FileError::io("cannot read", path))? as u64 > limit {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// Reads a text file of at most [`TEXT_LIMIT`] bytes.
///
/// # Errors
/// As [`read_bytes`], or if it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path, TEXT_LIMIT)?)
        .map_err(|_| FileError::Damaged { path: path.into(), reason: "it is not UTF-8".into() })
}

/// Opens a file to write into it, and creates it if it is missing. It is neither truncated nor reached
/// through a link: a folder from a stranger may hold links to any file of the user.
///
/// # Errors
/// [`FileError::Link`] if the path is a symbolic link, [`FileError::NotRegular`] if it is no file, or
/// if it cannot be opened.
pub fn open_to_write(path: &Path) -> Result<File> {
    if path.is_symlink() {
        return Err(FileError::Link { path: path.into() });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(FileError::io("cannot write", path))?;
    match file.metadata().map_err(FileError::io("cannot write", path))?.is_file() {
        true => Ok(file),
        false => Err(FileError::NotRegular { path: path.into() }),
    }
}

/// Refuses a path that is a symbolic link; a path that does not exist passes.
///
/// # Errors
/// [`FileError::Link`].
pub fn refuse_link(path: &Path) -> Result<()> {
    match path.is_symlink() {
        true => Err(FileError::Link { path: path.into() }),
        false => Ok(()),
    }
}

/// Makes the names in a folder last through a power failure: what was created, renamed or removed in it.
///
/// # Errors
/// If the folder cannot be opened or synchronised.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only Unix can open a folder to synchronise it.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_within_its_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read_bytes(&path, 3).unwrap(), b"abc");
        let error = read_bytes(&path, 2).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { .. }), "{error}");
        let error = read_bytes(folder.path(), 3).unwrap_err();
        assert!(matches!(error, FileError::NotRegular { .. }), "{error}");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("not UTF-8"));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let endless = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        for path in [pipe, endless] {
            let error = read_bytes(&path, 10).unwrap_err();
            assert!(matches!(error, FileError::NotRegular { .. }), "{error}");
            assert!(open_to_write(&path).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link] = ["target", "link"].map(|name| folder.path().join(name));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = open_to_write(&link).unwrap_err();
        assert!(matches!(error, FileError::Link { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(read_text(&link).unwrap(), "kept", "reading follows links");
    }
}
