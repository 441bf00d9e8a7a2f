//! The columns of B of all concepts, cached so that learning a concept does not parse all earlier ones.
//!
//! ```text
//! BANK/basis/index.json    whose blocks there are, their rank at each of the bank's sites, SHA-256
//! BANK/basis/columns.f32   a block for each owner: Bᵀ [r, m] of all sites, one after the other
//! ```
//!
//! A new concept appends its block, so that what is written does not grow with the bank. The cache is
//! made again from the adapters when it is missing, damaged or of another bank. A concept whose own files
//! are damaged later is still in it, so that further concepts can be learnt. Blocks of owners that the bank
//! does not have any more are passed over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use seqlora_files::{GuardedFolder, open_regular, sha256};
use serde::{Deserialize, Serialize};

use super::down::Down;
use super::versions::{parse, read_text};
use super::{ConceptId, ConceptRecord, places::Places};
use crate::error::Result;
use crate::lora::Site;
use crate::lora::directions::{Columns, orthonormal_gauge};

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

/// Whose directions a block holds: a concept of the bank, or one that was removed and left them reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The concept.
    pub id: ConceptId,
    /// SHA-256 of its `concept.json`, if the bank knows it.
    pub record: Option<String>,
}

/// What an owner's own files say of its directions.
#[derive(Debug, Clone)]
pub struct Block {
    /// Whether later concepts have to stay orthogonal to them.
    pub reserves_directions: bool,
    /// The group within which they have to; `None` for all concepts.
    pub group: Option<String>,
    /// The directions.
    pub down: Down,
}

impl Block {
    /// That of a concept, with its directions.
    pub fn of(record: &ConceptRecord, down: Down) -> Self {
        let ConceptRecord { reserves_directions, group, .. } = record;
        Self { reserves_directions: *reserves_directions, group: group.clone(), down }
    }
}

/// Of an owner whose own files are damaged: what the cache still knows.
#[derive(Debug, Clone)]
pub struct CachedRanks {
    /// Whether later concepts have to stay orthogonal to it.
    pub reserves_directions: bool,
    /// The group within which they have to.
    pub group: Option<String>,
    /// The rank at each of the bank's sites.
    pub ranks: Vec<usize>,
}

/// Whether a new concept of a group, or of none, has to stay orthogonal to one of another.
pub fn concerns(new: Option<&str>, earlier: Option<&str>) -> bool {
    new.is_none() || new == earlier
}

/// `index.json`
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: u32,
    /// The names of the bank's sites, in its order.
    sites: Vec<String>,
    concepts: Vec<Entry>,
}

/// A block, in the order of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: ConceptId,
    /// SHA-256 of the `concept.json` that it belongs to, if the bank knows it.
    record: Option<String>,
    reserves_directions: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
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
}

impl<'a> BasisCache<'a> {
    /// That of the bank in a folder.
    pub fn new(folder: &'a GuardedFolder, sites: &'a [Site]) -> Self {
        Self { folder, sites }
    }

    /// The columns of B at each of the bank's sites of all owners that concern a new concept of a group.
    /// Blocks that are missing are read from the owners' own files, and stored if the bank may be written.
    ///
    /// Concepts of different groups may overlap: where a new one without a group has to stay orthogonal to
    /// both, what is returned is an orthonormal basis of all their directions.
    ///
    /// # Errors
    /// If an owner's file cannot be read.
    pub fn columns(
        &self,
        owners: &[Owner],
        group: Option<&str>,
        block: impl Fn(&Owner) -> Result<Block>,
        writable: bool,
    ) -> Result<Vec<Columns>> {
        let none = || vec![Columns::new(); self.sites.len()];
        let (mut columns, mut grouped) = (none(), false);
        let mut add = |entry: &Entry, bytes: &[u8]| {
            if concerns(group, entry.group.as_deref()) {
                grouped |= group != entry.group.as_deref();
                self.add_columns(entry, bytes, &mut columns);
            }
        };
        let (mut index, known) = match self.read(owners, &mut add) {
            Some(read) => read,
            None => {
                (columns, grouped) = (none(), false);
                (self.empty(), 0)
            }
        };
        for owner in &owners[known..] {
            let (entry, bytes) = self.entry(owner, block(owner)?);
            if concerns(group, entry.group.as_deref()) {
                grouped |= group != entry.group.as_deref();
                self.add_columns(&entry, &bytes, &mut columns);
            }
            if writable && index.blocks(self.sites).of(owner).is_none() {
                self.store(&mut index, entry, &bytes)?;
            }
        }
        if grouped {
            let basis = |columns| orthonormal_gauge(columns, &Columns::new()).0;
            columns = columns.into_iter().map(basis).collect();
        }
        Ok(columns)
    }

    /// Adds the last of the owners, a concept that has just been appended to the bank. A cache that does
    /// not hold those before it is left to be completed by [`columns`](Self::columns).
    ///
    /// # Errors
    /// If the disk is full.
    pub fn append(&self, owners: &[Owner], block: Block) -> Result<()> {
        let Some((new, earlier)) = owners.split_last() else { return Ok(()) };
        let Some(mut index) = self.complete(earlier) else { return Ok(()) };
        let (entry, bytes) = self.entry(new, block);
        self.store(&mut index, entry, &bytes)
    }

    /// Whether it holds the blocks of all these owners, by its index and its size.
    pub fn is_complete(&self, owners: &[Owner]) -> bool {
        self.complete(owners).is_some()
    }

    /// The index, if there are the blocks of all these owners.
    fn complete(&self, owners: &[Owner]) -> Option<Index> {
        let index = self.index().unwrap_or_else(|| self.empty());
        let blocks = index.blocks(self.sites);
        let complete = owners.iter().all(|owner| blocks.of(owner).is_some())
            && self.length() == Some(index.bytes(self.sites));
        drop(blocks);
        complete.then_some(index)
    }

    /// Drops the blocks of all others than these owners. A loss of power meanwhile leaves no cache.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn keep_only(&self, owners: &[Owner]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut kept = self.empty();
        let add = |entry: &Entry, block: &[u8]| {
            bytes.extend_from_slice(block);
            kept.concepts.push(entry.clone());
        };
        match self.read(owners, add) {
            Some((index, _)) if index.concepts.len() > kept.concepts.len() => {
                self.folder.write(COLUMNS, &bytes)?;
                Ok(self.folder.write_json(INDEX, &kept)?)
            }
            _ => Ok(()),
        }
    }

    /// The ranks of an owner at the bank's sites, if the cache knows them.
    pub fn ranks(&self, owner: &Owner) -> Option<CachedRanks> {
        let index = self.index()?;
        let entry = index.blocks(self.sites).of(owner)?.1.clone();
        let Entry { reserves_directions, group, ranks, .. } = entry;
        Some(CachedRanks { reserves_directions, group, ranks })
    }

    /// The directions of an owner, if the cache holds them.
    pub fn block(&self, owner: &Owner) -> Option<Block> {
        let mut found = None;
        let take = |entry: &Entry, bytes: &[u8]| {
            let mut down = Down::default();
            let mut numbers = bytes.chunks_exact(4).map(number);
            for (site, rank) in self.sites.iter().zip(&entry.ranks).filter(|(_, rank)| **rank > 0) {
                down.insert(site, numbers.by_ref().take(rank * site.inputs).collect());
            }
            let Entry { reserves_directions, group, .. } = entry.clone();
            found = Some(Block { reserves_directions, group, down });
        };
        self.read(std::slice::from_ref(owner), take)?;
        found
    }

    /// For each owner, whether the cache holds exactly these directions; `None` if it has no block of it.
    pub fn agrees(&self, checked: &[(Owner, Block)]) -> Vec<Option<bool>> {
        // One whose length is another is not used, and made again.
        let index = self.index().filter(|i| self.length() == Some(i.bytes(self.sites)));
        let file = open_regular(&self.file()).ok();
        let Some((index, (mut file, _))) = index.zip(file) else {
            return vec![None; checked.len()];
        };
        let blocks = index.blocks(self.sites);
        let agrees = |(owner, block): &(Owner, Block)| {
            let (start, known) = blocks.of(owner)?;
            let (entry, bytes) = self.entry(owner, block.clone());
            let stored = read_block(&mut file, start, bytes.len() as u64);
            Some(entry == *known && stored.as_deref() == Some(&bytes[..]))
        };
        checked.iter().map(agrees).collect()
    }

    /// Where B of all owners lies; `None` if the cache does not hold all or is damaged.
    pub fn places(&self, owners: &[Owner]) -> Option<Vec<Places>> {
        let (index, known) = self.read(owners, |_, _| ())?;
        let blocks = index.blocks(self.sites);
        let places = |owner: &Owner| {
            let (mut start, entry) = blocks.of(owner)?;
            let place = |(rank, site): (&usize, &Site)| {
                let place = (start, *rank);
                start += site_bytes(*rank, site);
                place
            };
            let sites = entry.ranks.iter().zip(self.sites).map(place).collect();
            Some(Places { file: self.file(), sites })
        };
        (known == owners.len()).then(|| owners.iter().map(places).collect())?
    }

    fn empty(&self) -> Index {
        let sites = self.sites.iter().map(|site| site.name.clone()).collect();
        Index { version: VERSION, sites, concepts: Vec::new() }
    }

    /// The index, if it is there and is of this bank's sites.
    fn index(&self) -> Option<Index> {
        let file = self.folder.path().join(INDEX);
        let index: Index = parse(&file, &read_text(&file, LARGEST_INDEX).ok()?).ok()?;
        let fits = |entry: &Entry| {
            let mut ranks = entry.ranks.iter().zip(self.sites);
            entry.ranks.len() == self.sites.len()
                && ranks.all(|(rank, site)| *rank <= site.inputs)
                && entry.bytes(self.sites) <= LARGEST_BLOCK
        };
        let Index { version, sites, .. } = self.empty();
        let same = index.version == version && index.sites == sites;
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

    /// Reads the blocks of the owners in their order, up to the first that is not there, and tells how many
    /// there are; `None` if the cache is missing or damaged.
    fn read(
        &self,
        owners: &[Owner],
        mut each: impl FnMut(&Entry, &[u8]),
    ) -> Option<(Index, usize)> {
        let index = self.index()?;
        if self.length()? != index.bytes(self.sites) {
            return None;
        }
        let (mut file, _) = open_regular(&self.file()).ok()?;
        let mut known = 0;
        let blocks = index.blocks(self.sites);
        for owner in owners {
            let Some((start, entry)) = blocks.of(owner) else { break };
            let block = read_block(&mut file, start, entry.bytes(self.sites))?;
            if sha256(&block) != entry.sha256 {
                return None;
            }
            each(entry, &block);
            known += 1;
        }
        drop(blocks);
        Some((index, known))
    }

    fn entry(&self, owner: &Owner, block: Block) -> (Entry, Vec<u8>) {
        let Block { reserves_directions, group, down } = block;
        let numbers = self.sites.iter().flat_map(|site| down.at(site));
        let bytes: Vec<u8> = numbers.flat_map(|x| x.to_le_bytes()).collect();
        let Owner { id, record } = owner.clone();
        let (ranks, sha256) = (down.ranks(self.sites), sha256(&bytes));
        (Entry { id, record, reserves_directions, group, ranks, sha256 }, bytes)
    }

    fn add_columns(&self, entry: &Entry, block: &[u8], columns: &mut [Columns]) {
        let mut rest = block;
        for ((site, rank), columns) in self.sites.iter().zip(&entry.ranks).zip(columns) {
            for _ in 0..*rank {
                let (column, after) = rest.split_at(4 * site.inputs);
                columns.push(column.chunks_exact(4).map(|b| f64::from(number(b))).collect());
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

    /// Where the blocks begin in the file, and their entries.
    fn blocks(&self, sites: &[Site]) -> Blocks<'_> {
        let mut start = 0;
        let mut blocks = BTreeMap::new();
        for entry in &self.concepts {
            blocks.insert((entry.id.as_str(), entry.record.as_deref()), (start, entry));
            start += entry.bytes(sites);
        }
        Blocks(blocks)
    }
}

/// Blocks by their owner's id and record.
struct Blocks<'a>(BTreeMap<(&'a str, Option<&'a str>), (u64, &'a Entry)>);

impl<'a> Blocks<'a> {
    fn of(&self, owner: &Owner) -> Option<(u64, &'a Entry)> {
        self.0.get(&(owner.id.as_str(), owner.record.as_deref())).copied()
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

/// A block whose length has been compared with that of the file.
fn read_block(file: &mut File, start: u64, bytes: u64) -> Option<Vec<u8>> {
    let mut block = vec![0; usize::try_from(bytes).ok()?];
    file.seek(SeekFrom::Start(start)).ok()?;
    file.read_exact(&mut block).ok()?;
    Some(block)
}

fn number(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::lora::{Part, Role};

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

    fn block(owner: &Owner) -> Block {
        let seed: usize = owner.id.parse().unwrap();
        let down = |rank, inputs: usize| {
            (0..rank * inputs).map(|x| (x + seed) as f32 / 3.0).collect::<Vec<f32>>()
        };
        let [a, b] = <[Site; 2]>::try_from(sites()).unwrap();
        let mut of = Down::default();
        of.insert(&a, down(2, 3));
        // The first concept is not adapted at site b.
        if seed > 0 {
            of.insert(&b, down(1, 5));
        }
        let group = (seed == 3).then(|| "pets".to_string());
        Block { reserves_directions: true, group, down: of }
    }

    fn owner(number: usize) -> Owner {
        Owner { id: ConceptId::new(number.to_string()).unwrap(), record: None }
    }

    fn owners(count: usize) -> Vec<Owner> {
        (0..count).map(owner).collect()
    }

    /// Columns as the owners' files have them, and how many of these were read.
    fn read_of(folder: &Path, owners: &[Owner], writable: bool) -> (Vec<Columns>, usize) {
        let (folder, sites, count) = (GuardedFolder::new(folder), sites(), Cell::new(0));
        let read = |owner: &Owner| {
            count.set(count.get() + 1);
            Ok(block(owner))
        };
        let cache = BasisCache::new(&folder, &sites);
        let columns = cache.columns(owners, None, read, writable).unwrap();
        (columns, count.get())
    }

    fn read(folder: &Path, concepts: usize, writable: bool) -> (Vec<Columns>, usize) {
        read_of(folder, &owners(concepts), writable)
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
        let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
        let cache = BasisCache::new(&guarded, &sites);
        for count in 1..=3 {
            cache.append(&owners(count), block(&owner(count - 1))).unwrap();
        }
        assert_eq!(read(folder.path(), 3, true).1, 0);
        assert_eq!(cache.ranks(&owner(1)).unwrap().ranks, [2, 1]);
        assert_eq!(cache.block(&owner(1)).unwrap().down, block(&owner(1)).down);
        let places = cache.places(&owners(3)).unwrap();
        assert_eq!(places[2].read(1, 5).unwrap(), read(folder.path(), 3, true).0[1][1]);
        assert!(cache.places(&owners(4)).is_none(), "it does not hold all");
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
        let of = |digest: &str| [Owner { record: Some(digest.into()), ..owner(0) }];
        assert_eq!(read_of(folder.path(), &of("01"), true).1, 1);
        assert_eq!(read_of(folder.path(), &of("01"), true).1, 0);
        assert_eq!(read_of(folder.path(), &of("02"), true).1, 1);
    }

    /// Columns come in the order of the owners, whatever order their blocks lie in and whether they lie
    /// there at all.
    #[test]
    fn the_order_is_that_of_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), 3, true);
        let other = [2, 0, 1].map(owner);
        let empty = tempfile::tempdir().unwrap();
        let (expected, _) = read_of(empty.path(), &other, false);
        assert_eq!(read_of(folder.path(), &other, true), (expected, 0));
    }

    #[test]
    fn blocks_of_others_are_passed_over_and_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("basis/columns.f32");
        read(folder.path(), 3, true);
        let whole = fs::metadata(&file).unwrap().len();
        let left = [owner(0), owner(2)];
        let (expected, count) = read_of(folder.path(), &left, true);
        assert_eq!((expected[0].len(), count), (4, 0));
        let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
        BasisCache::new(&guarded, &sites).keep_only(&left).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), whole - 4 * (2 * 3 + 5));
        assert_eq!(read_of(folder.path(), &left, true), (expected, 0));
        assert_eq!(read(folder.path(), 3, true).1, 2, "the second, and the third after it");
    }

    #[test]
    fn a_group_is_concerned_with_its_own_concepts() {
        let folder = tempfile::tempdir().unwrap();
        let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
        let cache = BasisCache::new(&guarded, &sites);
        for _ in 0..2 {
            let read = |count, group| {
                cache.columns(&owners(count), group, |o| Ok(block(o)), true).unwrap()
            };
            let [pets, others] = ["pets", "cars"].map(|group| read(4, Some(group)));
            let raw: Vec<f64> =
                block(&owner(3)).down.at(&sites[0]).iter().map(|x| (*x).into()).collect();
            assert_eq!((pets[0].concat(), others[0].len()), (raw, 0));
            // Without a group in it, all columns are as they are.
            assert_eq!(read(3, None)[0].len(), 6);
            // With one, they are a basis of the same plane.
            let all = &read(4, None)[0];
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert_eq!(all.len(), 2);
            assert!(
                dot(&all[0], &all[1]).abs() < 1e-12 && (dot(&all[1], &all[1]) - 1.0).abs() < 1e-12
            );
            let outside =
                |x: &Vec<f64>| dot(x, x) - all.iter().map(|q| dot(x, q).powi(2)).sum::<f64>();
            assert!(read(3, None)[0].iter().all(|x| outside(x).abs() < 1e-12));
        }
    }

    #[test]
    fn what_differs_from_an_adapter_is_told() {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), 2, true);
        let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
        let cache = BasisCache::new(&guarded, &sites);
        let mut checked: Vec<_> = owners(3).into_iter().map(|o| (o.clone(), block(&o))).collect();
        assert_eq!(cache.agrees(&checked), [Some(true), Some(true), None]);
        checked[1].1.down = block(&owner(2)).down;
        assert_eq!(cache.agrees(&checked), [Some(true), Some(false), None]);
        let file = folder.path().join("basis/columns.f32");
        let mut bytes = fs::read(&file).unwrap();
        bytes[0] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(cache.agrees(&checked), [Some(false), Some(false), None]);
    }
}
