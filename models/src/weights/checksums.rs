//! `SHA256SUMS`: which bytes a folder's files should have, as `sha256sum` writes it.

use std::path::Path;

use rayon::prelude::*;

use super::ModelError;
use super::fingerprint::digest;

/// Checks a folder against its `SHA256SUMS`, if it has one.
///
/// # Errors
/// If a file is missing or other than it should be; names it.
pub fn verify_checksums(folder: &Path) -> Result<(), ModelError> {
    let list = folder.join("SHA256SUMS");
    if !list.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&list).map_err(ModelError::io(&list))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.par_iter().try_for_each(|line| {
        // Two spaces, or a space and a star for binary, stand between digest and name.
        let parts = line.split_once(' ').map(|(sum, name)| (sum, &name[1..]));
        let Some((expected, name)) = parts.filter(|(sum, _)| sum.len() == 64) else {
            return Err(ModelError::config(&list, format!("`{line}` is no digest and file name")));
        };
        let path = folder.join(name);
        let found: String = digest(&path)?.iter().map(|byte| format!("{byte:02x}")).collect();
        match found == expected.to_lowercase() {
            true => Ok(()),
            false => {
                let reason = format!("its SHA-256 is {found}, SHA256SUMS says {expected}");
                Err(ModelError::Damaged { path, reason })
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
    }
}
