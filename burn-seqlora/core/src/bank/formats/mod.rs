//! Adapters as files of this and other tools.
//!
//! Each format is one file here and one line in [`all`]; the names that a tool gives to keys stay inside
//! its file.

pub(super) mod native;
mod peft;

pub use native::Native;
pub(crate) use native::{from_tensors, to_tensors};
pub use peft::Peft;

use std::fmt::Debug;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter};

/// A way to store an adapter in a folder.
pub trait AdapterFormat: Debug + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether a folder looks like this format.
    fn detect(&self, folder: &Path) -> bool;

    /// Reads an adapter for a model with these sites.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a tensor belongs to no site or has another shape.
    fn read(&self, folder: &Path, sites: &[Site]) -> Result<StoredAdapter>;

    /// Writes an adapter into a folder that exists.
    ///
    /// # Errors
    /// If a file cannot be written, or the format cannot hold the adapter.
    fn write(&self, folder: &Path, adapter: &StoredAdapter, sites: &[Site]) -> Result<()>;
}

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
