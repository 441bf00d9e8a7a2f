//! Folders of previews, event files and kept banks, in which each concept has its own.

use std::path::Path;

use burn_seqlora::bank::Bank;
use burn_seqlora::files::{GuardedFolder, check_folder};
use burn_seqlora::train::{ConceptPlan, LearnPlan};

use crate::failure::Failure;

/// Checks before training that a folder can be made and written, and those in it that planned concepts have already.
///
/// # Errors
/// Names the folder that cannot, or is a link.
pub fn check(folder: &Path, plan: &LearnPlan) -> Result<(), Failure> {
    check_folder(folder)?;
    for concept in &plan.concepts {
        let own = GuardedFolder::new(folder).check(concept.data.id())?;
        if own.exists() {
            check_folder(&own)?;
        }
    }
    Ok(())
}

/// Whether a concept was begun, or learnt, in this bank before, so that what is in its folders is its own.
pub fn is_begun(bank: &Bank, concept: &ConceptPlan) -> bool {
    concept.config.continued_from.is_some() || bank.checkpoint_folder(&concept.id).exists()
}
