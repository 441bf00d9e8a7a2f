//! The columns of B of all concepts, cached so that learning a concept does not parse all earlier ones.
//!
//! ```text
//! BANK/basis/index.json    whose blocks there are, their rank at each of the bank's sites, SHA-256
//! BANK/basis/columns.f32   a block for each owner: Bᵀ [r, m] of all sites, one after the other
//! ```
//!
//! A new concept appends its block, so that what is written does not grow with the bank. Whoever uses a block
//! compares it with the bytes of B in the owner's own file, which takes less time than to read the block. The
//! cache is made again from the adapters when it is missing, damaged, of another bank or not what these say. A
//! concept whose own files are damaged later is still in it, so that further concepts can be learnt. Blocks of
//! owners that the bank does not have any more are passed over.

mod index;
mod owner;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use seqlora_files::{GuardedFolder, open_regular, sha256};

use self::index::{Entry, Index, VERSION, site_bytes};
pub use self::owner::{Block, CachedRanks, OwnFiles, Owner, concerns};
use super::down::Down;
use super::places::Places;
use super::versions::{parse, read_text};
use crate::error::Result;
use crate::lora::Site;
use crate::lora::directions::{Columns, orthonormal_gauge};

/// The cache's folder in that of the bank, and its files.
pub const FOLDER: &str = "basis";
const INDEX: &str = "basis/index.json";
const COLUMNS: &str = "basis/columns.f32";

/// The largest index in bytes: 1000 concepts of SD1.5 take 3 MB.
const LARGEST_INDEX: u64 = 64 << 20;

/// The largest block in bytes; no adapter that is read has a larger one.
const LARGEST_BLOCK: u64 = 2 << 30;

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
    /// Blocks that are missing are read from the owners' own files, and stored if the bank may be written; all are,
    /// if one is not what these files say.
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
        own: &impl OwnFiles,
        writable: bool,
    ) -> Result<Vec<Columns>> {
        let none = || vec![Columns::new(); self.sites.len()];
        let (mut columns, mut grouped) = (none(), false);
        let mut add = |owner: &Owner, entry: &Entry, bytes: &[u8]| {
            if own.contradict(owner, &entry.ranks(), bytes) {
                return false;
            }
            if concerns(group, entry.group.as_deref()) {
                grouped |= group != entry.group.as_deref();
                self.add_columns(entry, bytes, &mut columns);
            }
            true
        };
        let (mut index, known) = match self.read(owners, &mut add) {
            Some(read) => read,
            None => {
                (columns, grouped) = (none(), false);
                (self.empty(), 0)
            }
        };
        for owner in &owners[known..] {
            let (entry, bytes) = self.entry(owner, own.block(owner)?);
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
        let add = |_: &Owner, entry: &Entry, block: &[u8]| {
            bytes.extend_from_slice(block);
            kept.concepts.push(entry.clone());
            true
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
        let (_, entry) = index.blocks(self.sites).of(owner)?;
        Some(entry.ranks())
    }

    /// The directions of an owner, if the cache holds them.
    pub fn block(&self, owner: &Owner) -> Option<Block> {
        let mut found = None;
        let take = |_: &Owner, entry: &Entry, bytes: &[u8]| {
            let mut down = Down::default();
            let mut numbers = bytes.chunks_exact(4).map(number);
            for (site, rank) in self.sites.iter().zip(&entry.ranks).filter(|(_, rank)| **rank > 0) {
                down.insert(site, numbers.by_ref().take(rank * site.inputs).collect());
            }
            let Entry { reserves_directions, group, .. } = entry.clone();
            found = Some(Block { reserves_directions, group, down });
            true
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

    /// Where B of all owners lies; `None` if the cache does not hold all, is damaged, or is not what their own
    /// files say.
    pub fn places(&self, owners: &[Owner], own: &impl OwnFiles) -> Option<Vec<Places>> {
        let agrees = |owner: &Owner, entry: &Entry, bytes: &[u8]| {
            !own.contradict(owner, &entry.ranks(), bytes)
        };
        let (index, known) = self.read(owners, agrees)?;
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
    /// there are; `None` if the cache is missing or damaged, or `each` says that a block is not right.
    fn read(
        &self,
        owners: &[Owner],
        mut each: impl FnMut(&Owner, &Entry, &[u8]) -> bool,
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
            let finite = block.chunks_exact(4).all(|bytes| number(bytes).is_finite());
            if !finite || sha256(&block) != entry.sha256 || !each(owner, entry, &block) {
                return None;
            }
            known += 1;
        }
        drop(blocks);
        Some((index, known))
    }

    fn entry(&self, owner: &Owner, block: Block) -> (Entry, Vec<u8>) {
        let bytes = block.bytes(self.sites);
        let Block { reserves_directions, group, down } = block;
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
