//! Digests of weight files, which identify a base model.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use seqlora_files::open_regular;
use sha2::{Digest, Sha256};

use super::ModelError;

/// The digest of weight files in this order: 32 hexadecimal digits. Reading takes about 1 s per GB.
///
/// # Errors
/// If a file cannot be read.
pub fn fingerprint(files: &[PathBuf]) -> Result<String, ModelError> {
    let digests: Vec<_> = files.par_iter().map(|file| digest(file)).collect::<Result<_, _>>()?;
    let all = digests.concat();
    Ok(Sha256::digest(all).iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// The SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<Vec<u8>, ModelError> {
    let (mut file, _) = open_regular(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(ModelError::io(path))? {
            0 => return Ok(hash.finalize().to_vec()),
            read => hash.update(&buffer[..read]),
        }
    }
}
