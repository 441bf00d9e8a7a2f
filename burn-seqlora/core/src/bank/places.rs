//! Where the numbers of a concept's B lie on disk, so that one layer of many concepts can be read.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use seqlora_files::open_regular;

use crate::error::{Error, Result};

/// Bᵀ of all sites of a bank in a file.
#[derive(Debug, Clone)]
pub struct Places {
    /// The file.
    pub file: PathBuf,
    /// Where Bᵀ `[rank, inputs]` begins in it in bytes, and the rank, for each of the bank's sites; the
    /// rank is 0 where the concept is not adapted.
    pub sites: Vec<(u64, usize)>,
}

impl Places {
    /// The rank at a site.
    pub fn rank(&self, site: usize) -> usize {
        self.sites[site].1
    }

    /// The columns of B at a site with this many inputs, one after the other.
    ///
    /// # Errors
    /// If the file cannot be read, or is shorter than before.
    pub fn read(&self, site: usize, inputs: usize) -> Result<Vec<f64>> {
        let (start, rank) = self.sites[site];
        if rank == 0 {
            return Ok(Vec::new());
        }
        let (mut file, _) = open_regular(&self.file)?;
        let mut bytes = vec![0; 4 * rank * inputs];
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(Error::io("cannot read", &self.file))?;
        let number = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
        Ok(bytes.chunks_exact(4).map(number).collect())
    }
}
