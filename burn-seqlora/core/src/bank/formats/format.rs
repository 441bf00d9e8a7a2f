//! What a format of adapters can do, as a trait.

use std::fmt::Debug;
use std::path::Path;

use crate::error::Result;
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
