//! Removing a concept from a bank.
//!
//! `bank.json` decides at every moment. It is written once without the concept, whose folder is then
//! removed, and once more when that is done. A process that ends in between leaves a bank without the
//! concept, and the next one that opens the bank to write removes the rest.

use std::fs;

use super::basis::Block;
use super::{Bank, CONCEPTS, ConceptId};
use crate::error::{Error, Result};

/// What becomes of the directions of a removed concept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Directions {
    /// Later concepts stay orthogonal to it, as they did while it was in the bank: what was exported of it
    /// or generated with it can still be combined with them, and it can come back from a copy.
    #[default]
    Keep,
    /// Later concepts may use them.
    Free,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The concept.
    pub id: ConceptId,
    /// Whether it was in the bank; if not, it had been removed before and is freed now.
    pub was_listed: bool,
    /// The directions that stay reserved at each of the bank's sites.
    pub reserved: Vec<usize>,
    /// The directions that later concepts may use again, at each of the bank's sites.
    pub freed: Vec<usize>,
}

impl Bank {
    /// Removes a concept. Nothing else in the bank changes.
    ///
    /// With [`Directions::Free`], also what is still reserved of concepts of this id that were removed
    /// before.
    ///
    /// # Errors
    /// If there is none of this id, a concept is being trained on what the bank holds, the directions that
    /// are to be kept can be read neither from the concept nor from the cache, or the disk reports an error.
    ///
    /// # Panics
    /// If the bank was not opened to be written.
    pub fn remove(&mut self, id: &str, directions: Directions) -> Result<Removal> {
        assert!(self.is_writable(), "the bank is open for reading");
        let removed_before = self.record.reserved.iter().any(|gone| gone.id == *id);
        let listed = match self.find(id) {
            Ok(id) => Some(id.clone()),
            Err(_) if directions == Directions::Free && removed_before => None,
            Err(unknown) => return Err(unknown),
        };
        let id = listed.clone().unwrap_or_else(|| ConceptId::new(id).expect("it was in the bank"));
        self.check_nothing_unfinished()?;
        let mut removal = Removal {
            id: id.clone(),
            was_listed: listed.is_some(),
            reserved: vec![0; self.sites().len()],
            freed: vec![0; self.sites().len()],
        };
        if directions == Directions::Free {
            self.free_reserved(&mut removal)?;
        }
        if listed.is_some() {
            self.remove_listed(directions, &mut removal)?;
        }
        // If this fails, there are blocks of nobody in the cache, which are passed over.
        let _ = self.basis_cache().keep_only(&self.owners());
        Ok(removal)
    }

    fn remove_listed(&mut self, directions: Directions, removal: &mut Removal) -> Result<()> {
        let id = &removal.id;
        self.folder.check(Self::inside(id))?;
        let owner = self.owner(id);
        // The cache has them if the concept's own files are damaged.
        let block =
            self.own_block(&owner).or_else(|error| self.basis_cache().block(&owner).ok_or(error));
        let block = match (block, directions) {
            (Ok(block), _) => block.reserves_directions.then_some(block),
            (Err(_), Directions::Free) => None,
            (Err(error), Directions::Keep) => return Err(unreadable(id, error)),
        };
        let ranks = |block: &Block| block.down.ranks(self.sites());
        let reserved = match (block, directions) {
            (Some(block), Directions::Keep) => {
                removal.reserved = ranks(&block);
                Some(self.write_reserved(id, block.group, &block.down)?)
            }
            (Some(block), Directions::Free) => {
                add(&mut removal.freed, &ranks(&block));
                None
            }
            (None, _) => None,
        };
        self.write_record(self.record.without(id, reserved))?;
        self.remove_leftovers()
    }

    /// Gives up what is reserved of concepts of this id that were removed before.
    fn free_reserved(&mut self, removal: &mut Removal) -> Result<()> {
        if self.record.reserved.iter().all(|gone| gone.id != removal.id) {
            return Ok(());
        }
        let of_id = self.record.reserved.iter().filter(|gone| gone.id == removal.id);
        for gone in of_id {
            // How many they were is told if their file can be read; they are freed in any case.
            if let Ok((down, _)) = self.read_reserved(gone) {
                add(&mut removal.freed, &down.ranks(self.sites()));
            }
        }
        self.write_record(self.record.without_reserved(&removal.id))?;
        self.remove_leftovers()
    }

    /// The concepts that have a folder: those of the bank, and others whose training was begun.
    pub(crate) fn folders(&self) -> impl Iterator<Item = ConceptId> {
        let folders = fs::read_dir(self.path().join(CONCEPTS)).into_iter().flatten().flatten();
        folders.filter_map(|entry| ConceptId::new(entry.file_name().to_str()?).ok())
    }

    /// Training goes on from what the bank held when it began: the concepts before it belong to its state.
    fn check_nothing_unfinished(&self) -> Result<()> {
        let is_unfinished = |id: &ConceptId| self.checkpoint_folder(id).exists();
        match self.folders().find(is_unfinished) {
            None => Ok(()),
            Some(id) => {
                Err(Error::Unfinished { checkpoint: self.checkpoint_folder(&id), id: id.into() })
            }
        }
    }
}

fn add(sum: &mut [usize], ranks: &[usize]) {
    sum.iter_mut().zip(ranks).for_each(|(sum, rank)| *sum += rank);
}

fn unreadable(id: &ConceptId, error: Error) -> Error {
    match error {
        Error::File(source) => Error::UnreadableDirections { id: id.to_string(), source },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::super::tests::{base, id, sites, training};
    use super::super::{BANK, ConceptRecord};
    use super::*;
    use crate::lora::{StoredAdapter, StoredFactors};

    /// Three concepts, each with one direction of its own at the second site.
    fn bank(reserves: bool) -> (TempDir, Bank) {
        let folder = tempfile::tempdir().unwrap();
        let mut bank = Bank::open_or_create(folder.path(), &base(), &sites()).unwrap();
        for (number, name) in ["cat", "dog", "mug"].into_iter().enumerate() {
            let mut down = vec![0.0; 3];
            down[number] = 1.0;
            append(&mut bank, name, down, reserves).unwrap();
        }
        (folder, bank)
    }

    fn append(bank: &mut Bank, name: &str, down: Vec<f32>, reserves: bool) -> Result<()> {
        let factors = StoredFactors { rank: 1, up: vec![0.5, 2.0], down };
        let adapter = StoredAdapter([("unet.a.to_v".to_string(), factors)].into());
        let record = ConceptRecord::new(&id(name), "animal", [1, 1], reserves, &adapter);
        bank.append(record, &training(), &adapter, ([1, 2], vec![0.1, 0.2]))
    }

    /// The file of a concept, and everything that is not the removed one's.
    fn file(bank: &Bank, id: &str) -> std::path::PathBuf {
        bank.path().join("concepts").join(id).join("adapter.safetensors")
    }

    fn columns(bank: &Bank) -> Vec<Vec<f64>> {
        bank.directions(&sites(), None).unwrap().remove(1)
    }

    fn names(bank: &Bank) -> Vec<&str> {
        bank.concepts().iter().map(ConceptId::as_str).collect()
    }

    #[test]
    fn later_concepts_stay_orthogonal_to_a_removed_one() {
        let (folder, mut bank) = bank(true);
        let others = ["cat", "mug"].map(|id| fs::read(file(&bank, id)).unwrap());
        let removal = bank.remove("dog", Directions::Keep).unwrap();
        assert_eq!((removal.reserved, removal.freed), (vec![0, 1], vec![0, 0]));
        assert!(!bank.path().join("concepts/dog").exists());
        assert_eq!(["cat", "mug"].map(|id| fs::read(file(&bank, id)).unwrap()), others);
        for _ in 0..2 {
            assert_eq!(names(&bank), ["cat", "mug"]);
            assert_eq!(bank.reserved(&sites(), None).unwrap(), [0, 3]);
            // The removed one's direction comes first.
            assert_eq!(columns(&bank), [[0., 1., 0.], [1., 0., 0.], [0., 0., 1.]]);
            assert!(bank.verify().unwrap().is_sound());
            // Without the cache, from the file that was kept.
            let _ = fs::remove_dir_all(bank.path().join("basis"));
            drop(bank);
            bank = Bank::open(folder.path()).unwrap();
        }
        drop(bank);
        // The id can be given again.
        let mut bank = Bank::open_to_change(folder.path()).unwrap();
        append(&mut bank, "dog", vec![0.6, 0.0, 0.8], true).unwrap();
        assert_eq!(columns(&bank).len(), 4);
        assert_eq!(bank.remove("dog", Directions::Free).unwrap().freed, [0, 2]);
        assert_eq!(columns(&bank), [[1., 0., 0.], [0., 0., 1.]]);
        assert_eq!(fs::read_dir(folder.path().join("reserved")).unwrap().count(), 0);
    }

    #[test]
    fn freed_directions_can_be_used_again() {
        let (_folder, mut bank) = bank(true);
        let removal = bank.remove("dog", Directions::Free).unwrap();
        assert_eq!((removal.reserved, removal.freed), (vec![0, 0], vec![0, 1]));
        assert_eq!(columns(&bank), [[1., 0., 0.], [0., 0., 1.]]);
        assert_eq!(bank.reserved(&sites(), None).unwrap(), [0, 2]);
        let version = |bank: &Bank| {
            let text = fs::read_to_string(bank.path().join(BANK)).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["version"].clone()
        };
        assert_eq!(version(&bank), 3, "older programs can read it");
        bank.remove("cat", Directions::Keep).unwrap();
        assert_eq!(version(&bank), 4);
        assert!(!bank.remove("cat", Directions::Free).unwrap().was_listed);
        assert_eq!(version(&bank), 3);
        // The last one takes the method with it.
        bank.remove("mug", Directions::Free).unwrap();
        assert_eq!((bank.method(), bank.concepts().len()), (None, 0));
    }

    #[test]
    fn what_reserves_nothing_leaves_nothing() {
        let (folder, mut bank) = bank(false);
        let removal = bank.remove("dog", Directions::Keep).unwrap();
        assert_eq!((removal.reserved, removal.freed), (vec![0, 0], vec![0, 0]));
        assert!(bank.removed_concepts().is_empty() && !folder.path().join("reserved").exists());
    }

    #[test]
    fn an_unknown_id_is_refused_with_the_nearest() {
        let (_folder, mut bank) = bank(true);
        let error = bank.remove("dogs", Directions::Free).unwrap_err().to_string();
        assert!(error.contains("did you mean <dog>? known: cat, dog, mug"), "{error}");
        assert_eq!(names(&bank), ["cat", "dog", "mug"]);
    }

    /// The cache still has the directions; without it they can only be freed.
    #[test]
    fn a_damaged_concept_can_be_removed() {
        for with_cache in [true, false] {
            let (_folder, mut bank) = bank(true);
            fs::write(file(&bank, "dog"), "no adapter").unwrap();
            if !with_cache {
                fs::remove_dir_all(bank.path().join("basis")).unwrap();
            }
            let kept = bank.remove("dog", Directions::Keep);
            match kept {
                Ok(removal) => assert!(with_cache && removal.reserved == [0, 1]),
                Err(Error::UnreadableDirections { id, .. }) => {
                    assert!(!with_cache && id == "dog");
                    bank.remove("dog", Directions::Free).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!(names(&bank), ["cat", "mug"]);
            assert_eq!(columns(&bank).len(), if with_cache { 3 } else { 2 });
        }
    }

    #[test]
    fn a_concept_in_training_keeps_those_before_it() {
        let (_folder, mut bank) = bank(true);
        let checkpoint = bank.path().join("concepts/fox/checkpoint");
        fs::create_dir_all(&checkpoint).unwrap();
        let error = bank.remove("dog", Directions::Keep).unwrap_err();
        assert!(matches!(&error, Error::Unfinished { id, .. } if id == "fox"), "{error}");
        fs::remove_dir_all(checkpoint).unwrap();
        bank.remove("dog", Directions::Keep).unwrap();
    }

    /// What the next writer finds if a process ended before the folder was removed.
    #[test]
    fn leftovers_are_removed_by_the_next_writer() {
        let (folder, mut bank) = bank(true);
        let record = bank.record.without(&id("dog"), None);
        bank.write_record(record).unwrap();
        let stray = Path::new("reserved").join("0".repeat(64)).with_extension("safetensors");
        bank.folder.create_folder("reserved").unwrap();
        bank.folder.write(&stray, b"of nobody").unwrap();
        drop(bank);
        Bank::open(folder.path()).unwrap();
        assert!(folder.path().join("concepts/dog").exists(), "a reader removes nothing");
        let bank = Bank::open_or_create(folder.path(), &base(), &sites()).unwrap();
        assert!(
            !folder.path().join("concepts/dog").exists() && !folder.path().join(stray).exists()
        );
        assert!(bank.record.leftovers.is_empty());
        drop(bank);
        assert!(Bank::open(folder.path()).unwrap().record.leftovers.is_empty());
    }
}
