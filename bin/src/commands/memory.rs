//! What a command takes, compared with what the machine has, before any of it is allocated.

use crate::failure::Failure;
use crate::machine::{Memory, memory};
use crate::terminal::bytes;

/// Refuses what cannot fit into the memory of this machine: `what` needs so many bytes, and `instead` needs less.
///
/// # Errors
/// Says how much is needed and how much there is.
pub fn check(needed: usize, what: &str, instead: &str) -> Result<(), Failure> {
    let Some(Memory { total, available }) = memory() else { return Ok(()) };
    if needed as u64 <= available {
        return Ok(());
    }
    let [needed, available, total] = [needed, available as usize, total as usize].map(bytes);
    Err(Failure::Failed(
        format!(
            "{what} about {needed}, and {available} of {total} are available; {instead}; --force starts anyway"
        )
        .into(),
    ))
}
