//! Adapters as files of this and other tools.
//!
//! Each format is one module here and one entry of [`all`]; the names that a tool gives to keys stay inside
//! its module.

mod format;
pub(super) mod native;
mod peft;

pub use format::AdapterFormat;
pub use native::Native;
pub(crate) use native::{from_tensors, to_tensors};
pub use peft::Peft;

use std::path::Path;

use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter};

/// Every format of this crate.
pub fn all() -> [&'static dyn AdapterFormat; 2] {
    [&Native, &Peft]
}

/// Reads an adapter in whatever format it is.
///
/// # Errors
/// If no format knows the folder, or reading fails.
pub fn read(folder: &Path, sites: &[Site]) -> Result<StoredAdapter> {
    match all().into_iter().find(|format| format.detect(folder)) {
        Some(format) => format.read(folder, sites),
        None => {
            let known = all().map(|format| format.name()).join(", ");
            Err(Error::damaged(folder, format!("it holds no adapter in a known format ({known})")))
        }
    }
}
