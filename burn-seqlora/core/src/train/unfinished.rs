//! Concepts whose training was begun and has not ended.

use super::checkpoint_record::CheckpointRecord;
use crate::bank::Bank;
use crate::error::{Error, Result};

/// Checks that no concept is being trained but those of a run. Training goes on from the concepts that the bank held
/// when it began; nobody could go on with it once others were added.
///
/// # Errors
/// [`Error::Unfinished`], or if a state of training is damaged.
pub fn check_nothing_unfinished(bank: &Bank, of_run: &[&str]) -> Result<()> {
    for id in bank.folders().filter(|id| !of_run.contains(&id.as_str())) {
        if CheckpointRecord::find(bank, &id)?.is_some() {
            let checkpoint = bank.checkpoint_folder(&id);
            return Err(Error::Unfinished { checkpoint, id: id.into() });
        }
    }
    Ok(())
}
