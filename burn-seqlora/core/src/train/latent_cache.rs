//! Latents of a concept's images on disk, so that training takes as much memory for 10^5 photos as for ten.
//!
//! ```text
//! CONCEPT/checkpoint/latents.bin    the digest of what the latents depend on, 32 bytes; then a block for
//!                                   each placement: SHA-256 of key, number and values; the values, f32
//! ```
//!
//! A block that is missing, half-written or altered is not what its digest says, and the placement is
//! encoded again. The file goes with the checkpoint folder once the concept is in the bank.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use seqlora_files::{open_to_write, refuse_link};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes of a SHA-256.
const DIGEST: usize = 32;

/// The largest file: 58,000 placements of SD1.5 at 512 pixels, 147 kB each. Placements beyond it are
/// encoded each time that they are drawn.
const MOST_BYTES: u64 = 8 << 30;

/// The values of placements by their number.
#[derive(Debug)]
pub struct LatentCache {
    path: PathBuf,
    file: File,
    key: [u8; DIGEST],
    /// Numbers per placement.
    values: usize,
}

impl LatentCache {
    /// The name of its file.
    pub const FILE: &str = "latents.bin";

    /// Opens the cache in a folder, and empties it if it was made for something else. `identity` is all that
    /// the values depend on, and each placement has `values` numbers.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is a link.
    pub fn open(folder: &Path, identity: &impl Serialize, values: usize) -> Result<Self> {
        refuse_link(folder)?;
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let path = folder.join(Self::FILE);
        let identity = serde_json::to_vec(identity).expect("an identity is JSON");
        let key: [u8; DIGEST] = Sha256::digest(identity).into();
        let mut file = open_to_write(&path)?;
        let mut start = || {
            let mut found = Vec::new();
            (&mut file).take(DIGEST as u64).read_to_end(&mut found)?;
            if found != key {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&key)?;
            }
            Ok(())
        };
        start().map_err(Error::io("cannot write", &path))?;
        Ok(Self { path, file, key, values })
    }

    /// The values of a placement, if they are stored and whole.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn get(&self, placement: usize) -> Result<Option<Vec<f32>>> {
        let Some(start) = self.start(placement) else { return Ok(None) };
        let mut block = Vec::with_capacity(self.block());
        let mut file = &self.file;
        let mut read = || {
            file.seek(SeekFrom::Start(start))?;
            file.take(self.block() as u64).read_to_end(&mut block)
        };
        read().map_err(Error::io("cannot read", &self.path))?;
        if block.len() < self.block() {
            return Ok(None);
        }
        let (digest, bytes) = block.split_at(DIGEST);
        if digest != self.digest(placement, bytes) {
            return Ok(None);
        }
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
        let values: Vec<f32> = bytes.chunks_exact(4).map(number).collect();
        Ok(values.iter().all(|x| x.is_finite()).then_some(values))
    }

    /// Stores the values of a placement, unless the file would become too large.
    ///
    /// # Errors
    /// If the disk is full.
    ///
    /// # Panics
    /// If they are not as many as were announced.
    pub fn put(&self, placement: usize, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), self.values, "all placements have as many values");
        let Some(start) = self.start(placement) else { return Ok(()) };
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let block = [&self.digest(placement, &bytes)[..], &bytes].concat();
        let mut file = &self.file;
        let mut write = || {
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&block)
        };
        write().map_err(|error: io::Error| Error::io("cannot write", &self.path)(error))
    }

    /// Bytes of a block.
    fn block(&self) -> usize {
        DIGEST + 4 * self.values
    }

    /// Where the block of a placement begins; `None` beyond the largest file.
    fn start(&self, placement: usize) -> Option<u64> {
        let start = (placement as u64).checked_mul(self.block() as u64)? + DIGEST as u64;
        (start + self.block() as u64 <= MOST_BYTES).then_some(start)
    }

    fn digest(&self, placement: usize, bytes: &[u8]) -> [u8; DIGEST] {
        let mut hash = Sha256::new_with_prefix(self.key);
        hash.update((placement as u64).to_le_bytes());
        hash.update(bytes);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_the_same_key_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let open = |identity: &str| LatentCache::open(folder.path(), &identity, 2).unwrap();
        let cache = open("a");
        assert_eq!(cache.get(3).unwrap(), None);
        cache.put(3, &[1.5, -0.25]).unwrap();
        cache.put(0, &[2.0, 3.0]).unwrap();
        assert_eq!(open("a").get(3).unwrap(), Some(vec![1.5, -0.25]));
        assert_eq!(open("a").get(2).unwrap(), None, "a gap between blocks");

        let path = folder.path().join(LatentCache::FILE);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(open("a").get(3).unwrap(), None, "a block that was half-written");
        let mut altered = bytes.clone();
        altered[DIGEST + DIGEST] ^= 1;
        fs::write(&path, altered).unwrap();
        assert_eq!(open("a").get(0).unwrap(), None, "an altered value");

        assert_eq!(open("b").get(3).unwrap(), None, "made for something else");
        assert_eq!(fs::metadata(&path).unwrap().len(), DIGEST as u64);
        open("b").put(usize::MAX, &[0.0; 2]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), DIGEST as u64, "beyond the largest file");
    }
}
