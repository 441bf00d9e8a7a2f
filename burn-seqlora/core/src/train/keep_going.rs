//! Going on with the next concept when one cannot be learnt.

use super::checkpoint_record::CheckpointRecord;
use crate::bank::{Bank, ConceptId};
use crate::data::ConceptData;
use crate::error::{Error, Result};

/// How a run is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Go on with an interrupted run, and pass over concepts that are in the bank.
    pub resume: bool,
    /// Go on with the next concept when one cannot be learnt.
    pub keep_going: bool,
}

/// A concept that a run went on without.
#[derive(Debug)]
pub struct FailedConcept {
    /// Its id.
    pub id: String,
    /// Why it could not be learnt.
    pub error: Error,
}

/// Whether an error is about one concept's images or loss, so that the next concept may do better. A full disk or a
/// changed bank would end the next one as well.
pub(super) fn is_of_one_concept(error: &Error) -> bool {
    matches!(error, Error::NotFinite { .. } | Error::Data(_))
}

/// Whether the state of a concept that failed is of no use: its numbers are not finite. Where images could not be read,
/// it is kept until another concept begins.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(error, Error::NotFinite { .. })
}

/// Removes the states of concepts that a run goes on without. Once another concept is in the bank, no run could go on
/// from them.
///
/// # Errors
/// If one cannot be removed.
pub(super) fn give_up(bank: &Bank, ids: impl IntoIterator<Item = ConceptId>) -> Result<()> {
    // That of a concept in the bank belongs to a training that goes on with it.
    let mut new = ids.into_iter().filter(|id| !bank.contains(id));
    new.try_for_each(|id| Ok(bank.folder().remove(bank.checkpoint_inside(&id))?))
}

/// The data in the order in which a run that keeps going is resumed: a concept that was begun comes first, because those
/// before it that are not in the bank failed, and its state knows nothing of them.
pub(super) fn begun_first<'a>(
    bank: &Bank,
    mut data: Vec<&'a dyn ConceptData>,
) -> Vec<&'a dyn ConceptData> {
    let is_begun = |id: ConceptId| CheckpointRecord::find(bank, &id).is_ok_and(|r| r.is_some());
    data.sort_by_key(|data| !ConceptId::new(data.id()).is_ok_and(is_begun));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_and_losses_are_of_one_concept() {
        let loss = Error::NotFinite { id: "cat".into(), step: 1, what: "loss", value: f64::NAN };
        let image = Error::Data("cat/1.png is cut".into());
        assert!(is_of_one_concept(&loss) && is_of_one_concept(&image));
        let disk = Error::io("cannot write", "bank")(std::io::ErrorKind::StorageFull.into());
        for error in [disk, Error::Stopped, Error::BankChanged { path: "bank".into() }] {
            assert!(!is_of_one_concept(&error), "{error}");
        }
    }
}
