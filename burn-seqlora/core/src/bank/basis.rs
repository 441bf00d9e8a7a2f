//! The columns of B of all concepts, cached so that learning a concept does not parse all earlier ones.
//!
//! ```text
//! BANK/basis/index.json    the concepts in order, their rank at each of the bank's sites, SHA-256
//! BANK/basis/columns.f32   a block for each concept: Bᵀ [r, m] of all sites, one after the other
//! ```
//!
//! A new concept appends its block, so that what is written does not grow with the bank. The cache is
//! made again from the adapters when it is missing, damaged or of another bank.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use seqlora_files::{read_json, write_json};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lora::directions::Columns;
use crate::lora::{Site, StoredAdapter};

const VERSION: u32 = 1;

/// `index.json`
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: u32,
    /// The names of the bank's sites, in its order.
    sites: Vec<String>,
    concepts: Vec<Entry>,
}

/// A concept's block.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    /// The rank at each of the sites; 0 where it is not adapted.
    ranks: Vec<usize>,
    sha256: String,
}

/// The cache of one bank.
#[derive(Debug)]
pub struct BasisCache<'a> {
    folder: PathBuf,
    /// The bank's sites, in its order.
    sites: &'a [Site],
}

impl<'a> BasisCache<'a> {
    /// That of the bank in a folder.
    pub fn new(bank: &Path, sites: &'a [Site]) -> Self {
        Self { folder: bank.join("basis"), sites }
    }

    /// The columns of B of all concepts at each of the bank's sites. Blocks that are missing are read
    /// from the adapters, and stored if the bank may be written.
    ///
    /// # Errors
    /// If an adapter cannot be read.
    pub fn columns(
        &self,
        concepts: &[String],
        adapter: impl Fn(&str) -> Result<StoredAdapter>,
        writable: bool,
    ) -> Result<Vec<Columns>> {
        let mut columns = vec![Columns::new(); self.sites.len()];
        let mut index = self.read(concepts, &mut columns).unwrap_or_else(|| {
            columns = vec![Columns::new(); self.sites.len()];
            self.empty()
        });
        for id in &concepts[index.concepts.len()..] {
            let adapter = adapter(id)?;
            let (entry, block) = self.block(id, &adapter);
            self.add_columns(&entry, &block, &mut columns);
            if writable {
                self.store(&mut index, entry, &block)?;
            }
        }
        Ok(columns)
    }

    /// Adds a concept that has just been appended to the bank. A cache that does not hold the concepts
    /// before it is left to be completed by [`columns`](Self::columns).
    ///
    /// # Errors
    /// If the disk is full.
    pub fn append(&self, concepts: &[String], adapter: &StoredAdapter) -> Result<()> {
        let Some((id, earlier)) = concepts.split_last() else { return Ok(()) };
        let mut index = self.index().unwrap_or_else(|| self.empty());
        let holds = index.concepts.iter().map(|entry| &entry.id).eq(earlier);
        if !holds || self.length() != Some(index.bytes(self.sites)) {
            return Ok(());
        }
        let (entry, block) = self.block(id, adapter);
        self.store(&mut index, entry, &block)
    }

    fn empty(&self) -> Index {
        let sites = self.sites.iter().map(|site| site.name.clone()).collect();
        Index { version: VERSION, sites, concepts: Vec::new() }
    }

    /// The index, if it is there and of this bank's sites.
    fn index(&self) -> Option<Index> {
        let index: Index = read_json(&self.folder.join("index.json")).ok()?;
        let fits = |entry: &Entry| {
            let ranks = entry.ranks.iter().zip(self.sites);
            entry.ranks.len() == self.sites.len() && ranks.into_iter().all(|(r, s)| *r <= s.inputs)
        };
        let Index { version, sites, .. } = self.empty();
        let same = index.version == version && index.sites == sites;
        (same && index.concepts.iter().all(fits)).then_some(index)
    }

    fn length(&self) -> Option<u64> {
        match fs::metadata(self.file()) {
            Ok(metadata) => Some(metadata.len()),
            Err(_) => (!self.folder.join("index.json").exists()).then_some(0),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("columns.f32")
    }

    /// Reads the blocks; `None` if the cache is missing, damaged or of other concepts.
    fn read(&self, concepts: &[String], columns: &mut [Columns]) -> Option<Index> {
        let index = self.index()?;
        let known = index.concepts.len() <= concepts.len();
        let same = index.concepts.iter().zip(concepts).all(|(entry, id)| entry.id == *id);
        if !known || !same || self.length()? != index.bytes(self.sites) {
            return None;
        }
        let mut file = File::open(self.file()).ok()?;
        for entry in &index.concepts {
            let mut block = vec![0; entry.bytes(self.sites)];
            file.read_exact(&mut block).ok()?;
            if digest(&block) != entry.sha256 {
                return None;
            }
            self.add_columns(entry, &block, columns);
        }
        Some(index)
    }

    fn block(&self, id: &str, adapter: &StoredAdapter) -> (Entry, Vec<u8>) {
        let mut block = Vec::new();
        for site in self.sites {
            let down = adapter.get(&site.name).map_or(&[][..], |factors| &factors.down);
            block.extend(down.iter().flat_map(|x| x.to_le_bytes()));
        }
        let (ranks, sha256) = (adapter.ranks(self.sites), digest(&block));
        (Entry { id: id.into(), ranks, sha256 }, block)
    }

    fn add_columns(&self, entry: &Entry, block: &[u8], columns: &mut [Columns]) {
        let number = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
        let mut rest = block;
        for ((site, rank), columns) in self.sites.iter().zip(&entry.ranks).zip(columns) {
            for _ in 0..*rank {
                let (column, after) = rest.split_at(4 * site.inputs);
                columns.push(column.chunks_exact(4).map(number).collect());
                rest = after;
            }
        }
    }

    /// Appends a block; the index is written last, and makes it count.
    fn store(&self, index: &mut Index, entry: Entry, block: &[u8]) -> Result<()> {
        let file = self.file();
        fs::create_dir_all(&self.folder).map_err(Error::io("cannot create", &self.folder))?;
        let append = || {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(false).open(&file)?;
            // What a killed process may have left behind the last block that counts.
            file.set_len(index.bytes(self.sites))?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
            file.write_all(block)?;
            file.sync_data()
        };
        append().map_err(Error::io("cannot write", &file))?;
        index.concepts.push(entry);
        Ok(write_json(&self.folder.join("index.json"), index)?)
    }
}

impl Index {
    fn bytes(&self, sites: &[Site]) -> u64 {
        self.concepts.iter().map(|entry| entry.bytes(sites) as u64).sum()
    }
}

impl Entry {
    fn bytes(&self, sites: &[Site]) -> usize {
        self.ranks.iter().zip(sites).map(|(rank, site)| 4 * rank * site.inputs).sum()
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::lora::{Part, Role, StoredFactors};

    fn sites() -> Vec<Site> {
        let site = |(name, inputs): (&str, usize)| Site {
            name: name.into(),
            inputs,
            outputs: 2,
            part: Part::Denoiser,
            role: Role::CrossAttention,
        };
        [("a", 3), ("b", 5)].map(site).into()
    }

    fn adapter(seed: usize) -> StoredAdapter {
        let factors = |rank, inputs: usize| StoredFactors {
            rank,
            up: vec![0.5; 2 * rank],
            down: (0..rank * inputs).map(|x| (x + seed) as f32 / 3.0).collect(),
        };
        // The first concept is not adapted at site b.
        let mut sites = vec![("a".to_string(), factors(2, 3))];
        sites.extend((seed > 0).then(|| ("b".to_string(), factors(1, 5))));
        StoredAdapter(sites.into_iter().collect())
    }

    /// Columns as the adapters have them, and how many adapters were read.
    fn read(folder: &Path, concepts: usize, writable: bool) -> (Vec<Columns>, usize) {
        let (sites, count) = (sites(), Cell::new(0));
        let ids: Vec<String> = (0..concepts).map(|number| number.to_string()).collect();
        let read = |id: &str| {
            count.set(count.get() + 1);
            Ok(adapter(id.parse().unwrap()))
        };
        let columns = BasisCache::new(folder, &sites).columns(&ids, read, writable).unwrap();
        (columns, count.get())
    }

    #[test]
    fn the_cache_holds_what_the_adapters_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (direct, count) = read(folder.path(), 2, false);
        assert_eq!((direct[0].len(), direct[1].len(), count), (4, 1, 2));
        assert_eq!(
            direct[1][0],
            (0..5).map(|x| f64::from((x + 1) as f32 / 3.0)).collect::<Vec<_>>()
        );
        assert!(!folder.path().join("basis").exists(), "a reader writes nothing");
        assert_eq!(read(folder.path(), 2, true), (direct.clone(), 2));
        assert_eq!(read(folder.path(), 2, true), (direct, 0));
        let (_, count) = read(folder.path(), 3, true);
        assert_eq!(count, 1, "only the new concept is read");
    }

    #[test]
    fn appending_keeps_it_complete() {
        let folder = tempfile::tempdir().unwrap();
        let sites = sites();
        let cache = BasisCache::new(folder.path(), &sites);
        for count in 1..=3 {
            let ids: Vec<String> = (0..count).map(|number: usize| number.to_string()).collect();
            cache.append(&ids, &adapter(count - 1)).unwrap();
        }
        assert_eq!(read(folder.path(), 3, true).1, 0);
    }

    #[test]
    fn a_damaged_cache_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, _) = read(folder.path(), 3, true);
        let file = folder.path().join("basis/columns.f32");
        let whole = fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        flipped[5] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], &[]] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(read(folder.path(), 3, true), (expected.clone(), 3));
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
        fs::write(folder.path().join("basis/index.json"), "{").unwrap();
        assert_eq!(read(folder.path(), 3, true), (expected.clone(), 3));
        assert_eq!(read(folder.path(), 3, true), (expected, 0));
    }
}
