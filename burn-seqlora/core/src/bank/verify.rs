//! Whether a bank is what it says: every file as it was written, and every pair of concepts as orthogonal
//! as their method promises.

use std::path::PathBuf;

use nalgebra::DMatrix;

use super::basis::{self, Block, Owner};
use super::down::Down;
use super::formats::native;
use super::inspect::{ConceptState, LARGEST_OVERLAP, Problem};
use super::overlap::Overlaps;
use super::places::Places;
use super::{Bank, ConceptId, Reserved};
use crate::check::greatest;
use crate::error::Result;
use crate::lora::{StoredAdapter, StoredFactors};

const DIRECTIONS: &str = "restore the file from a copy of the bank, or free the directions";
const GAUGE: &str = "restore the concept's folder from a copy of the bank, or remove the concept and learn \
                     it again";
const CACHE: &str = "delete the folder; learning the next concept makes it again from the adapters";

/// What was found.
#[derive(Debug)]
pub struct Verification {
    /// The concepts, with all that is wrong with them.
    pub concepts: Vec<ConceptState>,
    /// The same of removed concepts whose directions are reserved.
    pub reserved: Vec<ReservedState>,
    /// What is wrong with the cache of all B.
    pub cache: Vec<Problem>,
    /// The largest overlap at each site at which at least two are adapted.
    pub sites: Vec<SiteOverlap>,
    /// The pair that overlaps most, if there are two.
    pub worst: Option<PairOverlap>,
}

/// A removed concept whose directions are reserved.
#[derive(Debug)]
pub struct ReservedState {
    /// The id that it had.
    pub id: ConceptId,
    /// All that is wrong with what is left of it; empty if nothing is.
    pub problems: Vec<Problem>,
}

/// The largest overlap at a site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteOverlap {
    /// The site's name.
    pub site: String,
    /// The pair that overlaps most there.
    pub worst: PairOverlap,
}

/// How far two concepts are from orthogonal.
#[derive(Debug, Clone, PartialEq)]
pub struct PairOverlap {
    /// Both, in the bank's order; removed ones come first.
    pub concepts: [ConceptId; 2],
    /// The largest |entry| of B_jᵀ B_i with unit columns, in f64.
    pub overlap: f64,
    /// The site where it is found.
    pub site: String,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems().next().is_none()
    }

    /// All that is wrong, with the concept if it is one's own.
    pub fn problems(&self) -> impl Iterator<Item = (Option<&ConceptId>, &Problem)> {
        let concepts = self.concepts.iter().map(|state| (&state.id, &state.problems));
        let reserved = self.reserved.iter().map(|state| (&state.id, &state.problems));
        let of_concepts = concepts
            .chain(reserved)
            .flat_map(|(id, problems)| problems.iter().map(move |problem| (Some(id), problem)));
        of_concepts.chain(self.cache.iter().map(|problem| (None, problem)))
    }
}

impl Bank {
    /// Reads every file and compares it with its digest, the adapters with the concepts' ranks, with each
    /// other and with the cache of all B. Overlaps are computed anew in f64 for all pairs at every site,
    /// removed concepts with reserved directions among them.
    ///
    /// # Errors
    /// If a file changes meanwhile. What is damaged is no error.
    pub fn verify(&self) -> Result<Verification> {
        let mut blocks: Vec<(Owner, Block)> = Vec::new();
        let (mut concepts, places) = self.check_concepts(|state, adapter| {
            let Some(record) = &state.record else { return };
            let problem =
                record.reserves_directions.then(|| self.gauge_problem(&state.id, adapter));
            blocks.push((self.owner(&state.id), Block::of(record, Down::of(adapter))));
            state.problems.extend(problem.flatten());
        });
        let (numbers, concept_places): (Vec<usize>, Vec<Places>) = places.into_iter().unzip();
        let overlaps = Overlaps::of(&concept_places, self.sites())?;
        self.check_overlaps(&mut concepts, &numbers, &overlaps);

        let mut reserved = Vec::new();
        let (mut ids, mut all) = (Vec::new(), Vec::new());
        for gone in self.removed_concepts() {
            let (state, read) = self.check_reserved(gone);
            if let Some((down, place)) = read {
                let owner = Owner { id: gone.id.clone(), record: gone.record.clone() };
                let group = gone.group.clone();
                blocks.push((owner, Block { reserves_directions: true, group, down }));
                ids.push((gone.id.clone(), Some(gone)));
                all.push(place);
            }
            reserved.push(state);
        }
        ids.extend(numbers.iter().map(|number| (concepts[*number].id.clone(), None)));
        all.extend(concept_places);
        let overlaps =
            if reserved.is_empty() { overlaps } else { Overlaps::of(&all, self.sites())? };
        self.check_against_reserved(&mut concepts, &ids, &overlaps);
        let pair = |[i, j]: [usize; 2], overlap: f64, site: usize| PairOverlap {
            concepts: [ids[j].0.clone(), ids[i].0.clone()],
            overlap,
            site: self.sites()[site].name.clone(),
        };
        let of_site = |(site, worst): (usize, &Option<([usize; 2], f64)>)| {
            let worst = worst.map(|(at, overlap)| pair(at, overlap, site))?;
            Some(SiteOverlap { site: worst.site.clone(), worst })
        };
        let sites: Vec<_> = overlaps.by_site.iter().enumerate().filter_map(of_site).collect();
        let worst = worst(&sites).cloned();
        Ok(Verification { concepts, reserved, cache: self.check_cache(&blocks), sites, worst })
    }

    /// Whether B of a concept has orthonormal columns, which makes its directions a basis of what it
    /// reserves.
    fn gauge_problem(&self, id: &ConceptId, adapter: &StoredAdapter) -> Option<Problem> {
        let off = |factors: &StoredFactors| {
            let (_, b) = factors.to_matrices();
            let off = b.transpose() * &b - DMatrix::identity(factors.rank, factors.rank);
            greatest(off.iter().map(|x| x.abs()))
        };
        let far = adapter.0.iter().map(|(site, factors)| (site, off(factors)));
        let (site, off) =
            far.into_iter().find(|(_, off)| off.is_nan() || *off > LARGEST_OVERLAP)?;
        let text = format!("the columns of B at `{site}` are not orthonormal, by {off:.1e}");
        let file = self.concept_folder(id).join(native::FILE);
        Some(Problem { file, text, remedy: GAUGE })
    }

    fn check_reserved(&self, gone: &Reserved) -> (ReservedState, Option<(Down, Places)>) {
        let file = self.path().join(gone.file_inside());
        let (problems, read) = match self.read_reserved(gone) {
            Ok(read) => (Vec::new(), Some(read)),
            Err(error) => (vec![Problem::of(&error, &file, DIRECTIONS)], None),
        };
        (ReservedState { id: gone.id.clone(), problems }, read)
    }

    /// Adds a problem to a concept that overlaps with a removed one of its group. Of groups that differ
    /// nobody knows which concept was the later one.
    fn check_against_reserved(
        &self,
        concepts: &mut [ConceptState],
        ids: &[(ConceptId, Option<&Reserved>)],
        overlaps: &Overlaps,
    ) {
        for (i, (id, gone)) in ids.iter().enumerate() {
            let state =
                concepts.iter_mut().find(|state| state.id == *id).filter(|_| gone.is_none());
            let Some(state) = state else { continue };
            let Some(record) = &state.record else { continue };
            for (j, (other, gone)) in ids[..i].iter().enumerate() {
                let Some(gone) = gone else { continue };
                let overlap = overlaps.of_pair(i, j);
                let apart = record.reserves_directions && record.group == gone.group;
                if apart && (overlap.is_nan() || overlap > LARGEST_OVERLAP) {
                    let text = format!(
                        "its overlap with `{other}`, which was removed and whose directions are \
                         reserved, is {overlap:.1e}"
                    );
                    let file = self.concept_folder(id).join(native::FILE);
                    state.problems.push(Problem { file, text, remedy: GAUGE });
                }
            }
        }
    }

    /// A cache that is not there is no problem: it is made again when it is needed.
    fn check_cache(&self, blocks: &[(Owner, Block)]) -> Vec<Problem> {
        let agrees = self.basis_cache().agrees(blocks);
        let differs = blocks.iter().zip(agrees).filter(|(_, agrees)| *agrees == Some(false));
        let file: PathBuf = self.path().join(basis::FOLDER);
        let problem = |((owner, _), _): (&(Owner, Block), _)| Problem {
            file: file.clone(),
            text: format!("the cache holds another B of `{}` than the concept itself", owner.id),
            remedy: CACHE,
        };
        differs.map(problem).collect()
    }
}

/// The pair that overlaps most; one that is no number is worse than any.
fn worst(sites: &[SiteOverlap]) -> Option<&PairOverlap> {
    let rank =
        |pair: &&PairOverlap| if pair.overlap.is_nan() { f64::INFINITY } else { pair.overlap };
    let pairs = sites.iter().map(|site| &site.worst);
    pairs.max_by(|a, b| rank(a).total_cmp(&rank(b)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::tests::{base, id, sites, training};
    use super::super::{ConceptRecord, Directions};
    use super::*;

    /// A concept whose B is this column at the first site, in a group.
    fn append(bank: &mut Bank, name: &str, columns: [[f32; 3]; 1], group: Option<&str>) {
        let factors = StoredFactors { rank: 1, up: vec![0.5, 2.0], down: columns.concat() };
        let adapter = StoredAdapter([("unet.a.to_k".to_string(), factors)].into());
        let record = ConceptRecord::new(&id(name), "animal", [1, 1], true, &adapter);
        let record = record.in_group(group.map(String::from));
        bank.append(record, &training(), &adapter, ([1, 2], vec![0.1, 0.2])).unwrap();
    }

    fn bank(columns: &[(&str, [f32; 3], Option<&str>)]) -> (TempDir, Bank) {
        let folder = tempfile::tempdir().unwrap();
        let mut bank = Bank::open_or_create(folder.path(), &base(), &sites()).unwrap();
        for (name, column, group) in columns {
            append(&mut bank, name, [*column], *group);
        }
        (folder, bank)
    }

    /// The concepts with problems, and what is said of the first.
    fn problems(bank: &Bank) -> (Vec<String>, String) {
        let found = bank.verify().unwrap();
        let all: Vec<_> = found.problems().collect();
        let ids = all.iter().map(|(id, _)| id.map_or("cache", |id| id.as_str()).to_string());
        (ids.collect(), all.first().map(|(_, problem)| problem.text.clone()).unwrap_or_default())
    }

    #[test]
    fn the_worst_pair_is_found_at_its_site() {
        let (_folder, bank) = bank(&[
            ("cat", [1., 0., 0.], None),
            ("dog", [0., 1., 0.], None),
            ("mug", [0., 0.6, 0.8], None),
        ]);
        let found = bank.verify().unwrap();
        let worst = found.worst.as_ref().unwrap();
        assert_eq!(worst.concepts, ["dog", "mug"].map(id));
        assert!((worst.overlap - 0.6).abs() < 1e-7 && worst.site == "unet.a.to_k", "{worst:?}");
        // The second site has no adapters.
        assert_eq!(found.sites.len(), 1);
        let (ids, text) = problems(&bank);
        assert_eq!(ids, ["mug"]);
        assert!(text.contains("`dog` is 6.0e-1"), "{text}");
    }

    #[test]
    fn only_concepts_of_a_group_have_to_be_orthogonal() {
        let x = [1., 0., 0.];
        let (_folder, groups) = bank(&[("cat", x, Some("pets")), ("mug", x, Some("things"))]);
        assert!(groups.verify().unwrap().is_sound());
        let (_folder, alone) = bank(&[("cat", x, None), ("mug", x, Some("things"))]);
        assert!(alone.verify().unwrap().is_sound(), "the mug had to keep to its group only");
        for later in [None, Some("pets")] {
            let (_folder, same) = bank(&[("cat", x, Some("pets")), ("dog", x, later)]);
            assert_eq!(problems(&same).0, ["dog"]);
        }
    }

    #[test]
    fn columns_that_are_not_orthonormal_are_told() {
        let (_folder, bank) = bank(&[("cat", [1., 0.01, 0.], None)]);
        let (ids, text) = problems(&bank);
        assert_eq!(ids, ["cat"]);
        assert!(text.contains("`unet.a.to_k` are not orthonormal, by 1.0e-4"), "{text}");
    }

    #[test]
    fn a_cache_that_differs_from_the_adapters_is_told() {
        let (_folder, bank) = bank(&[("cat", [1., 0., 0.], None), ("dog", [0., 1., 0.], None)]);
        let file = bank.path().join("basis/columns.f32");
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
        let (ids, text) = problems(&bank);
        assert_eq!(ids, ["cache"]);
        assert!(text.contains("another B of `dog`"), "{text}");
        fs::remove_dir_all(bank.path().join("basis")).unwrap();
        assert!(bank.verify().unwrap().is_sound());
    }

    #[test]
    fn what_is_left_of_a_removed_concept_is_compared_too() {
        let (_folder, mut bank) = bank(&[("cat", [1., 0., 0.], None), ("dog", [0., 1., 0.], None)]);
        bank.remove("cat", Directions::Keep).unwrap();
        append(&mut bank, "mug", [[0.8, 0., 0.6]], None);
        let (ids, text) = problems(&bank);
        assert_eq!(ids, ["mug"]);
        assert!(text.contains("`cat`, which was removed") && text.contains("8.0e-1"), "{text}");
        let file = bank.path().join(bank.removed_concepts()[0].file_inside());
        fs::write(&file, "nothing").unwrap();
        let found = bank.verify().unwrap();
        assert_eq!(found.reserved[0].problems[0].file, file);
        assert!(found.reserved[0].problems[0].text.contains("SHA-256"));
    }
}
