//! What is wrong with the concepts of a bank.

use super::overlap::coherence;
use super::places::Places;
use super::{Bank, ConceptId, ConceptRecord, METRICS, TrainingRecord};
use crate::check::greatest;
use crate::error::Result;

/// Concepts that reserve directions are orthogonal to about 1e-8 when they are stored in f32. Above this
/// they were not made by a method that keeps them apart.
const LARGEST_OVERLAP: f64 = 1e-4;

/// A concept as it lies in its folder.
#[derive(Debug)]
pub struct ConceptState {
    /// Its id.
    pub id: ConceptId,
    /// What inference needs of it, if that can be read.
    pub record: Option<ConceptRecord>,
    /// How it was trained, if that can be read.
    pub training: Option<TrainingRecord>,
    /// What is damaged, missing or not finite, in sentences; empty if nothing is.
    pub problems: Vec<String>,
}

impl Bank {
    /// Reads every file of every concept and compares it with its digest. Also returns the greatest
    /// mutual coherence of the concepts whose adapters can be read.
    ///
    /// # Errors
    /// If a file changes meanwhile. What is damaged is no error.
    pub fn inspect(&self) -> Result<(Vec<ConceptState>, f64)> {
        let mut states = Vec::new();
        let mut places = Vec::new();
        for id in self.concepts() {
            let (state, adapter) = self.inspect_concept(id);
            places.extend(adapter.map(|adapter| (states.len(), adapter)));
            states.push(state);
        }
        let (numbers, places): (Vec<usize>, Vec<Places>) = places.into_iter().unzip();
        let overlaps = coherence(&places, self.sites())?;
        for (i, row) in overlaps.iter().enumerate() {
            for (j, overlap) in row[..i].iter().enumerate() {
                let problem = overlap_problem(&states[numbers[j]], &states[numbers[i]], *overlap);
                states[numbers[i]].problems.extend(problem);
            }
        }
        Ok((states, greatest(overlaps.into_iter().flatten())))
    }

    /// A concept, and where its B lies if its adapter can be read.
    fn inspect_concept(&self, id: &ConceptId) -> (ConceptState, Option<Places>) {
        let mut state =
            ConceptState { id: id.clone(), record: None, training: None, problems: Vec::new() };
        let Some(record) = state.take(self.record(id)) else { return (state, None) };
        let places = state.take(self.read_adapter(&record)).map(|(_, places)| places);
        state.take(self.embeddings(&record));
        state.training = state.take(self.concept(id)).map(|(_, training)| training);
        // A concept that no program of ours trained may have none.
        if record.digests.contains_key(METRICS) {
            state.take(self.read_losses(&record));
        }
        state.record = Some(record);
        (state, places)
    }
}

impl ConceptState {
    /// What was read, or `None` and a further problem.
    fn take<T>(&mut self, read: Result<T>) -> Option<T> {
        read.map_err(|problem| self.problems.push(problem.to_string())).ok()
    }
}

fn overlap_problem(earlier: &ConceptState, later: &ConceptState, overlap: f64) -> Option<String> {
    let id = &earlier.id;
    if overlap.is_nan() {
        return Some(format!("its overlap with `{id}` is no number: a column of B is zero"));
    }
    let reserves =
        |state: &ConceptState| state.record.as_ref().is_some_and(|r| r.reserves_directions);
    (reserves(earlier) && reserves(later) && overlap > LARGEST_OVERLAP).then(|| {
        format!(
            "its overlap with `{id}` is {overlap:.1e}, although both say that they are kept apart"
        )
    })
}
