//! Adapters as files of this and other tools.
//!
//! Each format is one module here and one entry of [`all`]; the names that a tool gives to keys stay inside
//! its module. A format reads a tool's modules without a model; [`ForeignAdapter::matched`] finds them
//! among the sites of one.

mod card;
mod diffusers;
mod format;
mod kohya;
mod mix_of_show;
mod modules;
pub(super) mod native;
mod peft;
mod source;
#[cfg(test)]
mod testing;
mod textual_inversion;
mod unknown;

pub use card::{AdapterCard, TrainingCard};
pub use diffusers::Diffusers;
pub use format::AdapterFormat;
pub use kohya::Kohya;
pub use mix_of_show::MixOfShow;
pub use modules::{ForeignAdapter, Matched, Module};
pub use native::Native;
pub(crate) use native::{FactorsFile, from_tensors, to_tensors};
pub use peft::Peft;
pub use source::Source;
pub use textual_inversion::{read_textual_inversion, write_textual_inversion};
pub use unknown::unread_kind;

use std::path::Path;

use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter};

/// Every format of this crate.
pub fn all() -> [&'static dyn AdapterFormat; 5] {
    [&Native, &Kohya, &Diffusers, &Peft, &MixOfShow]
}

/// The format of this name.
///
/// # Errors
/// If there is none; lists those that there are.
pub fn by_name(name: &str) -> Result<&'static dyn AdapterFormat> {
    let found = all().into_iter().find(|format| format.name() == name);
    let unknown = || Error::Invalid(format!("no format is called `{name}`; there are {}", names()));
    found.ok_or_else(unknown)
}

fn names() -> String {
    all().map(|format| format.name()).join(", ")
}

/// The format that a file or a folder has, if it is one of them.
pub fn detect(source: &Source) -> Option<&'static dyn AdapterFormat> {
    all().into_iter().find(|format| format.detect(source))
}

/// Reads what lies at a path in whatever format it is.
///
/// # Errors
/// If it is of a kind that is not read, no format knows it, or reading fails.
pub fn open(path: &Path) -> Result<(&'static dyn AdapterFormat, ForeignAdapter)> {
    let source = Source::open(path)?;
    if let Some(kind) = unread_kind(&source) {
        return Err(Error::OtherAdapter { path: path.into(), kind });
    }
    match detect(&source) {
        Some(format) => Ok((format, format.read(source)?)),
        None => {
            let reason = format!("it holds no adapter in a known format ({})", names());
            Err(Error::damaged(path, reason))
        }
    }
}

/// Reads an adapter for a model with these sites, in whatever format it is.
///
/// # Errors
/// Those of [`open`], or if a module belongs to none of the sites, or has other sizes.
pub fn read(path: &Path, sites: &[Site]) -> Result<StoredAdapter> {
    let (format, adapter) = open(path)?;
    let matched = adapter.matched(|site| format.module_names(site), sites)?;
    match matched.others.first() {
        None => Ok(matched.adapter),
        Some(name) => {
            let count = matched.others.len();
            let reason = match count {
                1 => format!("`{name}` belongs to no layer that can be adapted"),
                _ => {
                    format!("{count} modules belong to no layer that can be adapted, e.g. `{name}`")
                }
            };
            Err(Error::damaged(path, reason))
        }
    }
}
