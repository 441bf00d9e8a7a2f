//! What `fuse` made of concepts, in the place of their sum.

use std::path::Path;

use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::Member;
use burn_seqlora::fusion::read_fused;
use burn_seqlora::lora::{PatchSet, Site};

use crate::failure::Failure;
use crate::terminal::Terminal;

/// Reads it for a model with these sites, and checks that it was made of this model and of the concepts that are to
/// be used, as the bank has them.
///
/// # Errors
/// If the file is missing or damaged, or was made of others.
pub fn read(
    file: &Path,
    sites: &[Site],
    base: &BaseModel,
    bank: Option<&Bank>,
    used: &[Member],
    terminal: &Terminal,
) -> Result<PatchSet, Failure> {
    let (patches, origin) = read_fused(file, sites)?;
    match origin {
        Some(origin) => origin.check(file, base, bank, used)?,
        None => terminal.warning(format!(
            "{} does not say which model and concepts it was made of, as files of earlier versions",
            file.display()
        )),
    }
    Ok(patches)
}
