//! What is wrong with the concepts of a bank.

use std::fmt;
use std::path::{Path, PathBuf};

use super::basis::concerns;
use super::overlap::Overlaps;
use super::places::Places;
use super::{Bank, ConceptId, ConceptRecord, METRICS, TrainingRecord};
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

/// The largest overlap of concepts that reserve directions: rounding to f32 leaves up to 1.2e-7 of two unit
/// columns that were orthogonal in f64, and about 1e-8 is usual.
pub const LARGEST_OVERLAP: f64 = 1e-6;

const RESTORE: &str = "restore the concept's folder from a copy of the bank, or remove the concept";
const RELEARN: &str = "restore the concept's folder from a copy of the bank, or remove the concept and \
                       learn it again";

/// Something that is damaged, missing, not finite or not as the bank says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file that it was found in.
    pub file: PathBuf,
    /// What it is, in a sentence.
    pub text: String,
    /// What helps.
    pub remedy: &'static str,
}

/// A concept as it lies in its folder.
#[derive(Debug)]
pub struct ConceptState {
    /// Its id.
    pub id: ConceptId,
    /// What inference needs of it, if that can be read.
    pub record: Option<ConceptRecord>,
    /// How it was trained, if that can be read.
    pub training: Option<TrainingRecord>,
    /// All that is wrong with it; empty if nothing is.
    pub problems: Vec<Problem>,
}

impl Bank {
    /// Reads every file of every concept and compares it with its digest. Also returns the greatest
    /// mutual coherence of the concepts whose adapters can be read.
    ///
    /// # Errors
    /// If a file changes meanwhile. What is damaged is no error.
    pub fn inspect(&self) -> Result<(Vec<ConceptState>, f64)> {
        let (mut states, places) = self.check_concepts(|_, _| ());
        let (numbers, places): (Vec<usize>, Vec<Places>) = places.into_iter().unzip();
        let overlaps = Overlaps::of(&places, self.sites())?;
        self.check_overlaps(&mut states, &numbers, &overlaps);
        Ok((states, overlaps.greatest()))
    }

    /// Reads every file of every concept, and tells `adapter` of each adapter that can be read. Also
    /// returns where B of these lies, with the number of the concept.
    pub(super) fn check_concepts(
        &self,
        mut adapter: impl FnMut(&mut ConceptState, &StoredAdapter),
    ) -> (Vec<ConceptState>, Vec<(usize, Places)>) {
        let (mut states, mut places) = (Vec::new(), Vec::new());
        for id in self.concepts() {
            let (mut state, read) = self.check_concept(id);
            if let Some((factors, place)) = read {
                adapter(&mut state, &factors);
                places.push((states.len(), place));
            }
            states.push(state);
        }
        (states, places)
    }

    /// A concept, and its adapter with the place of B if that can be read.
    fn check_concept(&self, id: &ConceptId) -> (ConceptState, Option<(StoredAdapter, Places)>) {
        let mut state =
            ConceptState { id: id.clone(), record: None, training: None, problems: Vec::new() };
        let folder = self.concept_folder(id);
        let Some(record) = state.take(self.record(id), &folder) else { return (state, None) };
        let adapter = state.take(self.read_adapter(&record), &folder);
        state.take(self.embeddings(&record), &folder);
        state.training = state.take(self.concept(id), &folder).map(|(_, training)| training);
        // A concept that no program of ours trained may have none.
        if record.digests.contains_key(METRICS) {
            state.take(self.read_losses(&record), &folder);
        }
        state.record = Some(record);
        (state, adapter)
    }

    /// Adds a problem to the later of two concepts that should not overlap and do. `numbers` are those of
    /// the concepts whose overlaps these are.
    pub(super) fn check_overlaps(
        &self,
        states: &mut [ConceptState],
        numbers: &[usize],
        overlaps: &Overlaps,
    ) {
        for (i, later) in numbers.iter().enumerate() {
            for (j, earlier) in numbers[..i].iter().enumerate() {
                let overlap = overlaps.of_pair(i, j);
                if let Some(text) = overlap_problem(&states[*earlier], &states[*later], overlap) {
                    let file = self.concept_folder(&states[*later].id);
                    states[*later].problems.push(Problem { file, text, remedy: RELEARN });
                }
            }
        }
    }
}

impl ConceptState {
    /// What was read, or `None` and a further problem.
    fn take<T>(&mut self, read: Result<T>, folder: &Path) -> Option<T> {
        read.map_err(|error| self.problems.push(Problem::of(&error, folder, RESTORE))).ok()
    }

    fn reserves(&self) -> Option<&ConceptRecord> {
        self.record.as_ref().filter(|record| record.reserves_directions)
    }
}

impl Problem {
    /// What an error says, of its own file or else of this one.
    pub(super) fn of(error: &Error, otherwise: &Path, remedy: &'static str) -> Self {
        let file = match error {
            Error::File(error) => error.path().into(),
            Error::NewerVersion { path, .. } => path.clone(),
            _ => otherwise.into(),
        };
        Self { file, text: error.to_string(), remedy }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn overlap_problem(earlier: &ConceptState, later: &ConceptState, overlap: f64) -> Option<String> {
    let id = &earlier.id;
    if overlap.is_nan() {
        return Some(format!("its overlap with `{id}` is no number: a column of B is zero"));
    }
    let (before, after) = (earlier.reserves()?, later.reserves()?);
    let apart = concerns(after.group.as_deref(), before.group.as_deref());
    (apart && overlap > LARGEST_OVERLAP).then(|| {
        format!(
            "its overlap with `{id}` is {overlap:.1e}, although both say that they are kept apart"
        )
    })
}
