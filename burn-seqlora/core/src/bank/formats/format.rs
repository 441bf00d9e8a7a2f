//! What a format of adapters can do, as a trait.

use std::fmt::Debug;
use std::path::Path;

use super::{AdapterCard, ForeignAdapter, Source};
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

/// A tool's way to store an adapter.
pub trait AdapterFormat: Debug + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether a file or a folder looks like this format.
    fn detect(&self, source: &Source) -> bool;

    /// Reads an adapter, for whatever model it is.
    ///
    /// # Errors
    /// If a file is missing or damaged, or holds anything but plain LoRA.
    fn read(&self, source: Source) -> Result<ForeignAdapter>;

    /// The names that a tool may give to the module of our site.
    fn module_names(&self, site: &str) -> Vec<String>;

    /// The file that it writes in a folder for an adapter of this name; `None` if it writes several.
    fn file_name(&self, _name: &str) -> Option<String> {
        None
    }

    /// Writes an adapter into a folder that exists.
    ///
    /// # Errors
    /// If a file cannot be written, the format has no place for a site, or it is only read.
    fn write(&self, _folder: &Path, _adapter: &StoredAdapter, _card: &AdapterCard) -> Result<()> {
        Err(Error::Invalid(format!("adapters are not written in the format {}", self.name())))
    }
}
