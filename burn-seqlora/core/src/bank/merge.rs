//! Banks of workers that learnt in different blocks of one shared basis, as one bank.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seqlora_files::{read_bytes, sha256};
use serde_json::Value;

use super::basis::Block;
use super::down::Down;
use super::inspect::LARGEST_OVERLAP;
use super::overlap::Overlaps;
use super::{Bank, CONCEPT, ConceptId, concept};
use crate::error::{Error, Result};
use crate::lora::Subspace;
use crate::merge_error::MergeError;

/// A concept of one of the banks.
struct Part<'a> {
    bank: &'a Bank,
    id: &'a ConceptId,
    /// Of a method that keeps concepts apart.
    block: Option<(Subspace, u64)>,
}

/// Puts the concepts of all banks into a new one: those of orthogonal methods in the order of their blocks, whatever
/// the order of the banks. The files of concepts are copied byte by byte.
///
/// # Errors
/// [`MergeError`] if the banks do not go together, [`Error::OtherBase`] or [`Error::OtherMethod`]; nothing is written
/// then. If a file cannot be read or written: the new bank then holds what was copied before.
pub fn merge_banks(banks: &[Bank], to: &Path) -> Result<Bank> {
    let parts = checked(banks, to)?;
    let first = &banks[0];
    let mut merged = Bank::open_or_create(to, first.base(), first.sites())?;
    for part in parts {
        merged.adopt(part.bank, part.id)?;
    }
    Ok(merged)
}

/// The concepts in the order in which the merged bank holds them.
fn checked<'a>(banks: &'a [Bank], to: &Path) -> Result<Vec<Part<'a>>, Error> {
    let [first, others @ ..] = banks else { return Err(MergeError::TooFew.into()) };
    if others.is_empty() {
        return Err(MergeError::TooFew.into());
    }
    if to.exists() {
        return Err(MergeError::Exists { path: to.into() }.into());
    }
    for other in others {
        other.check_base(first.base())?;
        if let Some(method) = first.method().filter(|_| other.method().is_some()) {
            other.check_method(method)?;
        }
        if other.sites() != first.sites() {
            let (first, second) = (first.path().into(), other.path().into());
            return Err(MergeError::OtherSites { first, second }.into());
        }
    }
    banks.iter().try_for_each(check_whole)?;
    let parts = banks.iter().map(parts_of).collect::<Result<Vec<_>>>()?;
    let mut parts: Vec<Part> = parts.into_iter().flatten().collect();
    check_apart(&parts)?;
    // Stable: concepts of a block stay in their order.
    parts.sort_by_key(|part| part.block);
    check_overlaps(&parts, first)?;
    Ok(parts)
}

fn check_whole(bank: &Bank) -> Result<()> {
    let path = || bank.path().to_path_buf();
    if let Some(gone) = bank.removed_concepts().first() {
        return Err(MergeError::Reserved { path: path(), id: gone.id.to_string() }.into());
    }
    let found = bank.verify()?;
    match found.problems().next() {
        None => Ok(()),
        Some((id, problem)) => {
            let of = id.map(|id| format!("`{id}`: ")).unwrap_or_default();
            let problem = format!("{of}{}", problem.text);
            Err(MergeError::Damaged { path: path(), problem }.into())
        }
    }
}

/// The concepts of a bank with their blocks.
fn parts_of(bank: &Bank) -> Result<Vec<Part<'_>>> {
    bank.concepts().iter().map(|id| part_of(bank, id)).collect()
}

fn part_of<'a>(bank: &'a Bank, id: &'a ConceptId) -> Result<Part<'a>> {
    let (record, training) = bank.concept(id)?;
    if !record.reserves_directions {
        return Ok(Part { bank, id, block: None });
    }
    let settings = &training.settings;
    let subspace = settings["subspace"].as_str().and_then(|text| text.parse().ok());
    let family = settings.get("subspace_family").map_or(Some(0), Value::as_u64);
    match subspace.zip(family) {
        Some(block) => Ok(Part { bank, id, block: Some(block) }),
        None => Err(MergeError::NoSubspace { id: id.to_string(), path: bank.path().into() }.into()),
    }
}

/// Checks that ids differ, and blocks, which are of one family.
fn check_apart(parts: &[Part]) -> Result<(), MergeError> {
    let mut ids: BTreeMap<String, &Part> = BTreeMap::new();
    let mut blocks: BTreeMap<Subspace, &Part> = BTreeMap::new();
    for part in parts {
        if let Some(other) = ids.insert(part.id.to_ascii_lowercase(), part) {
            let (first, second) = (other.bank.path().into(), part.bank.path().into());
            return Err(MergeError::SameId { id: part.id.to_string(), first, second });
        }
        let Some((subspace, _)) = part.block else { continue };
        let other = *blocks.entry(subspace).or_insert(part);
        let (first, second) = (other.id.to_string(), part.id.to_string());
        if other.bank.path() != part.bank.path() {
            let subspace = subspace.to_string();
            return Err(MergeError::SameBlock { first, second, subspace });
        }
    }
    let family = |part: &Part| {
        let (subspace, family) = part.block?;
        Some(((subspace.of(), family), part.id.clone()))
    };
    let families: BTreeMap<_, _> = parts.iter().filter_map(family).collect();
    let mut families = families.into_iter();
    match families.next().zip(families.next()) {
        None => Ok(()),
        Some(((one, first), (other, second))) => {
            let (first, second) = (first.to_string(), second.to_string());
            Err(MergeError::OtherFamily { first, second, families: [one, other] })
        }
    }
}

/// Blocks are what records say; this is what the adapters say.
fn check_overlaps(parts: &[Part], bank: &Bank) -> Result<()> {
    let parts: Vec<&Part> = parts.iter().filter(|part| part.block.is_some()).collect();
    let places = parts.iter().map(|part| part.bank.places(part.id)).collect::<Result<Vec<_>>>()?;
    let overlaps = Overlaps::of(&places, bank.sites())?;
    for (site, worst) in bank.sites().iter().zip(&overlaps.by_site) {
        let Some(([i, j], overlap)) = *worst else { continue };
        if overlap.is_nan() || overlap > LARGEST_OVERLAP {
            let [first, second] = [j, i].map(|number| parts[number].id.to_string());
            let site = site.name.clone();
            return Err(MergeError::Overlap { first, second, site, overlap }.into());
        }
    }
    Ok(())
}

impl Bank {
    /// Adds a concept of another bank: its files as they are.
    fn adopt(&mut self, from: &Bank, id: &ConceptId) -> Result<()> {
        let (record, training) = from.concept(id)?;
        let folder = self.training_inside(id);
        self.folder.create_folder(&folder)?;
        let names: BTreeSet<&str> = record.digests.keys().map(String::as_str).collect();
        for name in names {
            let file = from.concept_folder(id).join(name);
            let bytes = read_bytes(&file, LARGEST_FILE)?;
            record.check_digest(&file, &bytes)?;
            self.folder.write(folder.join(name), &bytes)?;
        }
        let bytes = read_bytes(&from.concept_folder(id).join(CONCEPT), concept::LARGEST)?;
        self.folder.write(folder.join(CONCEPT), &bytes)?;
        self.write_record(self.record.with(id, sha256(&bytes), &training.method))?;
        // If this fails, the cache is completed when it is read next.
        let down = Down::of(&self.adapter(id)?);
        let _ = self.basis_cache().append(&self.owners(), Block::of(&record, down));
        Ok(())
    }
}

/// No file of a concept is larger.
const LARGEST_FILE: u64 = 4 << 30;
