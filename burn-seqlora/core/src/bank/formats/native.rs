//! The bank's own format: `<site>.lora_up` [n, r] and `<site>.lora_down` [r, m] in f32.

use std::path::Path;

use seqlora_files::write_atomic;

use super::AdapterFormat;
use crate::bank::tensors::{NamedTensors, parse_tensors, read_tensors, to_safetensors};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// The file's name.
pub const FILE: &str = "adapter.safetensors";

/// `adapter.safetensors` as it lies in a bank.
#[derive(Debug, Clone, Copy)]
pub struct Native;

impl AdapterFormat for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn detect(&self, folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    fn read(&self, folder: &Path, sites: &[Site]) -> Result<StoredAdapter> {
        let file = folder.join(FILE);
        from_tensors(&file, read_tensors(&file)?, sites)
    }

    fn write(&self, folder: &Path, adapter: &StoredAdapter, _: &[Site]) -> Result<()> {
        let file = folder.join(FILE);
        Ok(write_atomic(&file, &to_bytes(&file, adapter)?)?)
    }
}

/// The bytes of the file; the path is for messages.
pub fn to_bytes(file: &Path, adapter: &StoredAdapter) -> Result<Vec<u8>> {
    let mut tensors = NamedTensors::new();
    for (name, factors) in &adapter.0 {
        insert(&mut tensors, name, factors);
    }
    to_safetensors(file, &tensors)
}

/// Adds the factors of one site.
pub fn insert(tensors: &mut NamedTensors, site: &str, factors: &StoredFactors) {
    let (rank, StoredFactors { up, down, .. }) = (factors.rank, factors);
    tensors.insert(format!("{site}.lora_up"), ([factors.outputs(), rank], up.clone()));
    tensors.insert(format!("{site}.lora_down"), ([rank, factors.inputs()], down.clone()));
}

/// The adapter in the bytes of a file; the path is for messages.
///
/// # Errors
/// If the file is damaged, or a tensor does not fit its site.
pub fn from_bytes(file: &Path, bytes: &[u8], sites: &[Site]) -> Result<StoredAdapter> {
    from_tensors(file, parse_tensors(file, bytes)?, sites)
}

fn from_tensors(file: &Path, mut tensors: NamedTensors, sites: &[Site]) -> Result<StoredAdapter> {
    let mut adapter = StoredAdapter::default();
    for site in sites {
        if let Some(factors) = take(file, &mut tensors, site)? {
            adapter.0.insert(site.name.clone(), factors);
        }
    }
    check_all_taken(file, &tensors)?;
    Ok(adapter)
}

/// Takes the factors of one site, if there are any.
///
/// # Errors
/// If they do not fit it.
pub fn take(file: &Path, tensors: &mut NamedTensors, site: &Site) -> Result<Option<StoredFactors>> {
    let up = tensors.remove(&format!("{}.lora_up", site.name));
    let down = tensors.remove(&format!("{}.lora_down", site.name));
    let fits = |up: &[usize; 2], down: &[usize; 2]| {
        let rank = up[1];
        rank > 0 && *up == [site.outputs, rank] && *down == [rank, site.inputs]
    };
    match (up, down) {
        (None, None) => Ok(None),
        (Some((shape, up)), Some((other, down))) if fits(&shape, &other) => {
            Ok(Some(StoredFactors { rank: shape[1], up, down }))
        }
        _ => {
            let reason = format!("the factors of `{}` do not fit the layer", site.name);
            Err(Error::damaged(file, reason))
        }
    }
}

/// # Errors
/// If a tensor is left that no site has taken.
pub fn check_all_taken(file: &Path, tensors: &NamedTensors) -> Result<()> {
    match tensors.keys().next() {
        Some(key) => {
            Err(Error::damaged(file, format!("`{key}` belongs to no layer of the base model")))
        }
        None => Ok(()),
    }
}
