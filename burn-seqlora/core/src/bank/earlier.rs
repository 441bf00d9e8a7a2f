//! What new concepts have to stay orthogonal to: the directions of the bank's concepts and of removed ones.

use std::collections::BTreeMap;

use seqlora_files::{Header, read_bytes};

use super::basis::{Block, CachedRanks, OwnFiles, Owner, concerns};
use super::down::Down;
use super::formats::native;
use super::places::Places;
use super::{BANK, Bank, ConceptId, Reserved, concept};
use crate::error::{Error, Result};
use crate::lora::Site;
use crate::lora::directions::Columns;

/// The largest file of a removed concept's directions in bytes; no adapter that is read has more of them.
const LARGEST_DIRECTIONS: u64 = 2 << 30;

impl Bank {
    /// The columns of B at each of these sites that a new concept of a group, or of none, stays orthogonal
    /// to: those of removed concepts that are still reserved, then those of the concepts in their order.
    ///
    /// # Errors
    /// If B of a concept is not in the cache, and its adapter cannot be read.
    pub fn directions(&self, sites: &[Site], group: Option<&str>) -> Result<Vec<Columns>> {
        self.directions_of(&self.owners(), sites, group)
    }

    /// The same but for those of one concept of the bank, which is trained further.
    pub(crate) fn directions_besides(
        &self,
        id: &ConceptId,
        sites: &[Site],
        group: Option<&str>,
    ) -> Result<Vec<Columns>> {
        let own = self.contains(id).then(|| self.owner(id));
        let others = self.owners().into_iter().filter(|owner| own.as_ref() != Some(owner));
        self.directions_of(&others.collect::<Vec<_>>(), sites, group)
    }

    fn directions_of(
        &self,
        owners: &[Owner],
        sites: &[Site],
        group: Option<&str>,
    ) -> Result<Vec<Columns>> {
        let columns = self.basis_cache().columns(owners, group, self, self.is_writable())?;
        let names = self.sites().iter().map(|site| site.name.as_str());
        let mut by_name: BTreeMap<&str, Columns> = names.zip(columns).collect();
        let of_site = |site: &Site| by_name.remove(site.name.as_str()).unwrap_or_default();
        Ok(sites.iter().map(of_site).collect())
    }

    /// How many directions of each of these sites are reserved for a new concept of a group, or of none:
    /// from the owners' files, or from the cache for those that are damaged.
    ///
    /// # Errors
    /// If neither can be read.
    pub fn reserved(&self, sites: &[Site], group: Option<&str>) -> Result<Vec<usize>> {
        let mut reserved: BTreeMap<&str, usize> = BTreeMap::new();
        for owner in self.owners() {
            let CachedRanks { reserves_directions, group: of, ranks } = self.known_ranks(&owner)?;
            if !reserves_directions || !concerns(group, of.as_deref()) {
                continue;
            }
            for (site, rank) in self.sites().iter().zip(ranks) {
                *reserved.entry(&site.name).or_default() += rank;
            }
        }
        let of_site = |site: &Site| reserved.get(site.name.as_str()).copied().unwrap_or(0);
        Ok(sites.iter().map(of_site).collect())
    }

    /// How many concepts a new one of a group, or of none, has to stay orthogonal to, with removed ones
    /// whose directions are reserved.
    ///
    /// # Errors
    /// If the record of one can be read neither from its files nor from the cache.
    pub fn concerning(&self, group: Option<&str>) -> Result<usize> {
        let mut count = 0;
        for owner in self.owners() {
            count += usize::from(concerns(group, self.known_ranks(&owner)?.group.as_deref()));
        }
        Ok(count)
    }

    /// Whose directions there are: those of removed concepts, then those of the bank's.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let concepts = self.concept_owners();
        let removed = self.record.reserved.iter();
        let removed =
            removed.map(|gone| Owner { id: gone.id.clone(), record: gone.record.clone() });
        // Whoever has listed a removed concept again has it twice, and its directions once.
        let removed = removed.filter(|owner| !concepts.contains(owner)).collect::<Vec<_>>();
        removed.into_iter().chain(concepts).collect()
    }

    /// The bank's concepts as owners of directions.
    pub(super) fn concept_owners(&self) -> Vec<Owner> {
        self.concepts().iter().map(|id| self.owner(id)).collect()
    }

    /// A concept of the bank as the owner of its directions.
    pub(super) fn owner(&self, id: &ConceptId) -> Owner {
        Owner { id: id.clone(), record: self.record_digest(id).map(String::from) }
    }

    /// What an owner's own files say of its directions.
    pub(super) fn own_block(&self, owner: &Owner) -> Result<Block> {
        if let Some(removed) = self.removed(owner) {
            let (group, down) = (removed.group.clone(), self.read_reserved(removed)?.0);
            return Ok(Block { reserves_directions: true, group, down });
        }
        let record = self.record(&owner.id)?;
        let (adapter, _) = self.read_adapter(&record)?;
        Ok(Block::of(&record, Down::of(&adapter)))
    }

    /// How many directions an owner has, from its own files or from the cache.
    fn known_ranks(&self, owner: &Owner) -> Result<CachedRanks> {
        self.ranks(owner).or_else(|error| {
            let cached = self.basis_cache().ranks(owner);
            cached.ok_or_else(|| self.damaged_earlier(&owner.id, error))
        })
    }

    /// How many directions an owner has, from its own files.
    fn ranks(&self, owner: &Owner) -> Result<CachedRanks> {
        if self.removed(owner).is_some() {
            let Block { reserves_directions, group, down } = self.own_block(owner)?;
            return Ok(CachedRanks { reserves_directions, group, ranks: down.ranks(self.sites()) });
        }
        let record = self.record(&owner.id)?;
        let (reserves_directions, ranks) = (record.reserves_directions, record.ranks(self.sites()));
        Ok(CachedRanks { reserves_directions, group: record.group, ranks })
    }

    /// What is left of an owner that was removed; `None` if it is a concept of the bank.
    fn removed(&self, owner: &Owner) -> Option<&Reserved> {
        let is_owner = |gone: &&Reserved| gone.id == owner.id && gone.record == owner.record;
        let known = self.contains(&owner.id) && self.owner(&owner.id) == *owner;
        self.record.reserved.iter().find(is_owner).filter(|_| !known)
    }

    /// The directions of a removed concept, and where they lie in their file.
    pub(super) fn read_reserved(&self, reserved: &Reserved) -> Result<(Down, Places)> {
        let file = self.path().join(reserved.file_inside());
        let bytes = read_bytes(&file, LARGEST_DIRECTIONS)?;
        concept::check_sha256(&file, &bytes, &reserved.directions, BANK)?;
        let down = Down::from_bytes(&file, &bytes, self.sites())?;
        Ok((down, native::places(&file, &bytes, self.sites())?))
    }

    /// An error with the files of a concept that the next ones have to stay orthogonal to.
    fn damaged_earlier(&self, id: &ConceptId, error: Error) -> Error {
        match error {
            Error::File(source) => {
                Error::DamagedEarlier { id: id.to_string(), bank: self.path().into(), source }
            }
            other => other,
        }
    }

    /// The bytes of Bᵀ of all sites in the adapter of a concept, which is not compared with its digest.
    fn unchecked_columns(&self, id: &ConceptId) -> Result<Vec<u8>> {
        let header = Header::read(&self.concept_folder(id).join(native::FILE))?;
        native::down_bytes(&header, self.sites())
    }
}

impl OwnFiles for Bank {
    fn block(&self, owner: &Owner) -> Result<Block> {
        self.own_block(owner).map_err(|error| self.damaged_earlier(&owner.id, error))
    }

    fn contradict(&self, owner: &Owner, cached: &CachedRanks, columns: &[u8]) -> bool {
        // The directions of a removed concept are under their digest.
        let same = self.removed(owner).is_none()
            && self.ranks(owner).is_ok_and(|own| own == *cached)
            && self.unchecked_columns(&owner.id).is_ok_and(|own| own == columns);
        // All of it is read, with its digest, only where something differs.
        !same && self.own_block(owner).is_ok_and(|own| !own.is(cached, columns, self.sites()))
    }
}
