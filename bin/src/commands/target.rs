//! Files that a command makes at its end, checked before its work begins.

use std::path::Path;

use burn_seqlora::files::check_target;

use crate::failure::Failure;

/// Checks that a file can be written where an option says, and replaces none.
///
/// # Errors
/// If it cannot, or there is a file.
pub fn check_new(option: &str, file: &Path) -> Result<(), Failure> {
    check_target(file)?;
    match file.exists() {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "{option} {} exists already; choose another file",
            file.display()
        ))),
    }
}
