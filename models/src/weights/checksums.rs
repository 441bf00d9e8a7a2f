//! `SHA256SUMS`: the digests of a folder's files, in the format of `sha256sum`.

use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use rayon::prelude::*;
use seqlora_files::write_atomic;

use super::fingerprint::digest;
use super::{ModelError, read_config};

const LIST: &str = "SHA256SUMS";

/// Checks the files of a folder against its `SHA256SUMS`, if it has one.
///
/// # Errors
/// If a file is missing or has another digest; the error names it.
pub fn verify_checksums(folder: &Path) -> Result<(), ModelError> {
    let list = folder.join(LIST);
    if !list.exists() {
        return Ok(());
    }
    let text = read_config(&list)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.par_iter().try_for_each(|line| {
        // Digest and name are separated by two spaces, or by a space and a star in binary mode.
        let parts = line.split_once(' ').and_then(|(sum, name)| Some((sum, name.get(1..)?)));
        let Some((expected, name)) = parts.filter(|(sum, _)| sum.len() == 64) else {
            return Err(ModelError::config(
                &list,
                format!("`{line}` is not a digest and a file name"),
            ));
        };
        let inside = |part| matches!(part, Component::Normal(_));
        if !Path::new(name).components().all(inside) {
            return Err(ModelError::config(&list, format!("`{name}` leads out of the folder")));
        }
        let path = folder.join(name);
        let found = hex(&path)?;
        match found == expected.to_lowercase() {
            true => Ok(()),
            false => {
                let reason = format!("its SHA-256 is {found}, SHA256SUMS says {expected}");
                Err(ModelError::Damaged { path, reason })
            }
        }
    })
}

/// Writes the `SHA256SUMS` of all files in a folder, in the order of their names.
///
/// # Errors
/// If a file cannot be read, or the list cannot be written or is a link.
pub fn write_checksums(folder: &Path) -> Result<(), ModelError> {
    let mut files = Vec::new();
    list_files(folder, &mut files).map_err(ModelError::io(folder))?;
    let mut lines = Vec::new();
    for file in &files {
        let name = file.strip_prefix(folder).expect("a file in the folder");
        // Names have slashes on every system.
        let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        if parts != [LIST] {
            lines.push(format!("{}  {}\n", hex(file)?, parts.join("/")));
        }
    }
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    let list = folder.join(LIST);
    Ok(write_atomic(&list, lines.concat().as_bytes())?)
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn hex(file: &Path) -> Result<String, ModelError> {
    Ok(digest(file)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = || verify_checksums(folder.path()).unwrap_err().to_string();
        verify_checksums(folder.path()).unwrap();
        fs::create_dir(path("unet")).unwrap();
        fs::write(path("unet/a.bin"), "abc").unwrap();
        // The digest of "abc" (FIPS 180-4, appendix).
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        fs::write(path("SHA256SUMS"), format!("{sum}  unet/a.bin\n{sum} *unet/a.bin\n")).unwrap();
        verify_checksums(folder.path()).unwrap();
        fs::write(path("unet/a.bin"), "abd").unwrap();
        assert!(error().contains("unet/a.bin is damaged") && error().contains(sum));
        fs::remove_file(path("unet/a.bin")).unwrap();
        assert!(error().contains("cannot access") && error().contains("unet/a.bin"));
        fs::write(path("SHA256SUMS"), "nonsense").unwrap();
        assert!(error().contains("SHA256SUMS: `nonsense`"));
        fs::write(path("SHA256SUMS"), format!("{sum}  ../a.bin\n")).unwrap();
        assert!(error().contains("`../a.bin` leads out of the folder"));
    }

    #[test]
    fn a_written_list_holds_until_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("unet")).unwrap();
        for name in ["b.txt", "unet/a.bin"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        write_checksums(folder.path()).unwrap();
        verify_checksums(folder.path()).unwrap();
        // The list does not include itself.
        write_checksums(folder.path()).unwrap();
        let list = fs::read_to_string(folder.path().join(LIST)).unwrap();
        let names: Vec<&str> = list.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["b.txt", "unet/a.bin"]);
        fs::write(folder.path().join("b.txt"), "other").unwrap();
        assert!(verify_checksums(folder.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn no_list_is_written_through_a_link() {
        let (folder, victim) =
            (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        fs::write(victim.path(), "kept").unwrap();
        std::os::unix::fs::symlink(victim.path(), folder.path().join(LIST)).unwrap();
        let error = write_checksums(folder.path()).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(victim.path()).unwrap(), "kept");
    }
}
