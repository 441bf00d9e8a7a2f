//! SHA-256 of bytes and files, as hexadecimal text.

use std::fmt::Write;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{FileError, Result};
use crate::open::open_regular;

/// The SHA-256 of bytes: 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, which is read in parts.
///
/// # Errors
/// If it is no regular file or cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    sha256_from(path, 0)
}

/// The same of the bytes from a place on.
pub(crate) fn sha256_from(path: &Path, start: u64) -> Result<String> {
    let (mut file, _) = open_regular(path)?;
    file.seek(SeekFrom::Start(start)).map_err(FileError::io("cannot read", path))?;
    let (mut digest, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).map_err(FileError::io("cannot read", path))? {
            0 => return Ok(hexadecimal(&digest.finalize())),
            length => digest.update(&part[..length]),
        }
    }
}

/// The SHA-256 of a file, or of the names and digests of all regular files in a folder, but for links to folders, which
/// may lead back.
///
/// # Errors
/// If a file or a folder cannot be read.
pub fn sha256_of_path(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return sha256_of_file(path);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(FileError::io("cannot read", path))?;
    entries.retain(|entry| {
        let path = entry.path();
        path.is_file() || path.is_dir() && !path.is_symlink()
    });
    entries.sort_by_key(fs::DirEntry::file_name);
    let line = |entry: fs::DirEntry| {
        Ok(format!("{} {}\n", sha256_of_path(&entry.path())?, entry.file_name().display()))
    };
    let lines = entries.into_iter().map(line).collect::<Result<String>>()?;
    Ok(sha256(lines.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string can be written");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_give_the_known_digest() {
        // FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        assert_eq!(sha256(b"abc"), known);
        assert_eq!(sha256_of_file(file.path()).unwrap(), known);
        assert_eq!(sha256_from(file.path(), 1).unwrap(), sha256(b"bc"));
    }

    #[test]
    fn a_folder_has_the_digest_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || sha256_of_path(folder.path()).unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/a"), "abc").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), folder.path().join("in/back")).unwrap();
        let before = digest();
        fs::rename(folder.path().join("in/a"), folder.path().join("in/b")).unwrap();
        assert_ne!(digest(), before);
        fs::rename(folder.path().join("in/b"), folder.path().join("in/a")).unwrap();
        assert_eq!(digest(), before);
        fs::write(folder.path().join("in/a"), "abd").unwrap();
        assert_ne!(digest(), before);
    }
}
