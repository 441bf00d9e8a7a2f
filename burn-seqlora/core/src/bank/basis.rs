//! The columns of B of all concepts, cached so that learning a concept does not parse all earlier ones.
//!
//! ```text
//! BANK/basis/index.json    the concepts in order, their rank at each of the bank's sites, SHA-256
//! BANK/basis/columns.f32   a block for each concept: Bᵀ [r, m] of all sites, one after the other
//! ```
//!
//! A new concept appends its block, so that what is written does not grow with the bank. The cache is
//! made again from the adapters when it is missing, damaged or of another bank. A concept whose own files
//! are damaged later is still in it, so that further concepts can be learnt.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use seqlora_files::{GuardedFolder, open_regular, sha256};
use serde::{Deserialize, Serialize};

use super::versions::{parse, read_text};
use super::{ConceptId, ConceptRecord, places::Places};
use crate::error::Result;
use crate::lora::directions::Columns;
use crate::lora::{Site, StoredAdapter};

/// The cache's folder in that of the bank, and its files.
pub const FOLDER: &str = "basis";
const INDEX: &str = "basis/index.json";
const COLUMNS: &str = "basis/columns.f32";

/// Version 1 did not say which `concept.json` a block belongs to.
const VERSION: u32 = 2;

/// The largest index in bytes: 1000 concepts of SD1.5 take 3 MB.
const LARGEST_INDEX: u64 = 64 << 20;

/// The largest block in bytes; no adapter that is read has a larger one.
const LARGEST_BLOCK: u64 = 2 << 30;

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
    id: ConceptId,
    /// SHA-256 of the `concept.json` that it belongs to, if the bank knows it.
    record: Option<String>,
    reserves_directions: bool,
    /// The rank at each of the sites; 0 where it is not adapted.
    ranks: Vec<usize>,
    sha256: String,
}

/// The cache of one bank.
#[derive(Debug)]
pub struct BasisCache<'a> {
    folder: &'a GuardedFolder,
    /// The bank's sites, in its order.
    sites: &'a [Site],
    /// SHA-256 of each `concept.json`.
    records: &'a BTreeMap<ConceptId, String>,
}

impl<'a> BasisCache<'a> {
    /// That of the bank in a folder, with the digests of its concepts' records.
    pub fn new(
        folder: &'a GuardedFolder,
        sites: &'a [Site],
        records: &'a BTreeMap<ConceptId, String>,
    ) -> Self {
        Self { folder, sites, records }
    }

    /// The columns of B of all concepts at each of the bank's sites. Blocks that are missing are read
    /// from the adapters, and stored if the bank may be written.
    ///
    /// # Errors
    /// If an adapter cannot be read.
    pub fn columns(
        &self,
        concepts: &[ConceptId],
        adapter: impl Fn(&ConceptId) -> Result<(ConceptRecord, StoredAdapter)>,
        writable: bool,
    ) -> Result<Vec<Columns>> {
        let mut columns = vec![Columns::new(); self.sites.len()];
        let add = |entry: &Entry, block: &[u8]| self.add_columns(entry, block, &mut columns);
        let mut index = self.read(concepts, add).unwrap_or_else(|| {
            columns = vec![Columns::new(); self.sites.len()];
            self.empty()
        });
        for id in &concepts[index.concepts.len()..] {
            let (record, adapter) = adapter(id)?;
            let (entry, block) = self.block(&record, &adapter);
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
    pub fn append(
        &self,
        concepts: &[ConceptId],
        record: &ConceptRecord,
        adapter: &StoredAdapter,
    ) -> Result<()> {
        let Some((_, earlier)) = concepts.split_last() else { return Ok(()) };
        let mut index = self.index(earlier).unwrap_or_else(|| self.empty());
        let complete = index.concepts.len() == earlier.len();
        if !complete || self.length() != Some(index.bytes(self.sites)) {
            return Ok(());
        }
        let (entry, block) = self.block(record, adapter);
        self.store(&mut index, entry, &block)
    }

    /// Whether it holds all of these concepts, by its index and its size.
    pub fn is_complete(&self, concepts: &[ConceptId]) -> bool {
        self.index(concepts).is_some_and(|index| {
            index.concepts.len() == concepts.len() && self.length() == Some(index.bytes(self.sites))
        })
    }

    /// The ranks of a concept at the bank's sites that count as reserved, if the cache knows them.
    pub fn reserved(&self, concepts: &[ConceptId], id: &ConceptId) -> Option<Vec<usize>> {
        let entry = self.index(concepts)?.concepts.into_iter().find(|entry| entry.id == *id)?;
        Some(if entry.reserves_directions { entry.ranks } else { vec![0; self.sites.len()] })
    }

    /// Where B of all concepts lies; `None` if the cache does not hold all or is damaged.
    pub fn places(&self, concepts: &[ConceptId]) -> Option<Vec<Places>> {
        let index = self.read(concepts, |_, _| ())?;
        let mut start = 0;
        let places = |entry: &Entry| {
            let place = |(rank, site): (&usize, &Site)| {
                let place = (start, *rank);
                start += site_bytes(*rank, site);
                place
            };
            Places {
                file: self.file(),
                sites: entry.ranks.iter().zip(self.sites).map(place).collect(),
            }
        };
        let complete = index.concepts.len() == concepts.len();
        complete.then(|| index.concepts.iter().map(places).collect())
    }

    fn empty(&self) -> Index {
        let sites = self.sites.iter().map(|site| site.name.clone()).collect();
        Index { version: VERSION, sites, concepts: Vec::new() }
    }

    /// The index, if it is there and is of this bank's sites and its first concepts.
    fn index(&self, concepts: &[ConceptId]) -> Option<Index> {
        let file = self.folder.path().join(INDEX);
        let index: Index = parse(&file, &read_text(&file, LARGEST_INDEX).ok()?).ok()?;
        let fits = |entry: &Entry| {
            let mut ranks = entry.ranks.iter().zip(self.sites);
            entry.ranks.len() == self.sites.len()
                && ranks.all(|(rank, site)| *rank <= site.inputs)
                && entry.bytes(self.sites) <= LARGEST_BLOCK
        };
        let belongs = |(entry, id): (&Entry, &ConceptId)| {
            entry.id == *id && entry.record.as_ref() == self.records.get(id)
        };
        let Index { version, sites, .. } = self.empty();
        let same = index.version == version
            && index.sites == sites
            && index.concepts.len() <= concepts.len()
            && index.concepts.iter().zip(concepts).all(belongs);
        (same && index.concepts.iter().all(fits)).then_some(index)
    }

    fn length(&self) -> Option<u64> {
        match fs::metadata(self.file()) {
            Ok(metadata) => Some(metadata.len()),
            Err(_) => (!self.folder.path().join(INDEX).exists()).then_some(0),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(COLUMNS)
    }

    /// Reads the blocks; `None` if the cache is missing, damaged or of other concepts.
    fn read(&self, concepts: &[ConceptId], mut each: impl FnMut(&Entry, &[u8])) -> Option<Index> {
        let index = self.index(concepts)?;
        if self.length()? != index.bytes(self.sites) {
            return None;
        }
        let (mut file, _) = open_regular(&self.file()).ok()?;
        for entry in &index.concepts {
            let mut block = vec![0; usize::try_from(entry.bytes(self.sites)).ok()?];
            file.read_exact(&mut block).ok()?;
            if sha256(&block) != entry.sha256 {
                return None;
            }
            each(entry, &block);
        }
        Some(index)
    }

    fn block(&self, record: &ConceptRecord, adapter: &StoredAdapter) -> (Entry, Vec<u8>) {
        let mut block = Vec::new();
        for site in self.sites {
            let down = adapter.get(&site.name).map_or(&[][..], |factors| &factors.down);
            block.extend(down.iter().flat_map(|x| x.to_le_bytes()));
        }
        let entry = Entry {
            id: record.id.clone(),
            record: self.records.get(&record.id).cloned(),
            reserves_directions: record.reserves_directions,
            ranks: adapter.ranks(self.sites),
            sha256: sha256(&block),
        };
        (entry, block)
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
        self.folder.create_folder(FOLDER)?;
        // This cuts what a killed process may have left behind the last block that counts.
        self.folder.append(COLUMNS, index.bytes(self.sites), block)?;
        self.folder.sync(COLUMNS)?;
        index.concepts.push(entry);
        Ok(self.folder.write_json(INDEX, index)?)
    }
}

impl Index {
    fn bytes(&self, sites: &[Site]) -> u64 {
        self.concepts.iter().map(|entry| entry.bytes(sites)).sum()
    }
}

impl Entry {
    fn bytes(&self, sites: &[Site]) -> u64 {
        self.ranks.iter().zip(sites).map(|(rank, site)| site_bytes(*rank, site)).sum()
    }
}

/// The bytes of Bᵀ `[rank, inputs]`.
fn site_bytes(rank: usize, site: &Site) -> u64 {
    4 * rank as u64 * site.inputs as u64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

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

    fn adapter(id: &ConceptId) -> (ConceptRecord, StoredAdapter) {
        let seed: usize = id.parse().unwrap();
        let factors = |rank, inputs: usize| StoredFactors {
            rank,
            up: vec![0.5; 2 * rank],
            down: (0..rank * inputs).map(|x| (x + seed) as f32 / 3.0).collect(),
        };
        // The first concept is not adapted at site b.
        let mut sites = vec![("a".to_string(), factors(2, 3))];
        sites.extend((seed > 0).then(|| ("b".to_string(), factors(1, 5))));
        let adapter = StoredAdapter(sites.into_iter().collect());
        (ConceptRecord::new(id, "thing", [1, 1], true, &adapter), adapter)
    }

    fn ids(count: usize) -> Vec<ConceptId> {
        (0..count).map(|number| ConceptId::new(number.to_string()).unwrap()).collect()
    }

    /// Columns as the adapters have them, and how many adapters were read.
    fn read_with(
        folder: &Path,
        records: &BTreeMap<ConceptId, String>,
        concepts: usize,
        writable: bool,
    ) -> (Vec<Columns>, usize) {
        let (folder, sites, count) = (GuardedFolder::new(folder), sites(), Cell::new(0));
        let read = |id: &ConceptId| {
            count.set(count.get() + 1);
            Ok(adapter(id))
        };
        let cache = BasisCache::new(&folder, &sites, records);
        let columns = cache.columns(&ids(concepts), read, writable).unwrap();
        (columns, count.get())
    }

    fn read(folder: &Path, concepts: usize, writable: bool) -> (Vec<Columns>, usize) {
        read_with(folder, &BTreeMap::new(), concepts, writable)
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
        let (guarded, sites, records) =
            (GuardedFolder::new(folder.path()), sites(), BTreeMap::new());
        let cache = BasisCache::new(&guarded, &sites, &records);
        for count in 1..=3 {
            let ids = ids(count);
            let (record, adapter) = adapter(ids.last().unwrap());
            cache.append(&ids, &record, &adapter).unwrap();
        }
        assert_eq!(read(folder.path(), 3, true).1, 0);
        assert_eq!(cache.reserved(&ids(3), &ids(3)[1]), Some(vec![2, 1]));
        let places = cache.places(&ids(3)).unwrap();
        assert_eq!(places[2].read(1, 5).unwrap(), read(folder.path(), 3, true).0[1][1]);
        assert!(cache.places(&ids(4)).is_none(), "it does not hold all");
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

    /// A concept that was replaced by another of the same id is read again.
    #[test]
    fn a_block_belongs_to_one_record() {
        let folder = tempfile::tempdir().unwrap();
        let records = |digest: &str| BTreeMap::from([(ids(1)[0].clone(), digest.to_string())]);
        assert_eq!(read_with(folder.path(), &records("01"), 1, true).1, 1);
        assert_eq!(read_with(folder.path(), &records("01"), 1, true).1, 0);
        assert_eq!(read_with(folder.path(), &records("02"), 1, true).1, 1);
    }
}
