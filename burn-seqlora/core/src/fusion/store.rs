//! Patches as a safetensors file: `<site>.lora_up` `[n, r]` and `<site>.lora_down` `[r, m]` as in a bank,
//! or `<site>.delta` `[n, m]`, all f32.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::Header;

use super::origin::FusedOrigin;
use crate::bank::formats::{from_tensors, to_tensors};
use crate::bank::{BorrowedTensors, NamedTensors, read_tensors, write_arrays};
use crate::error::{Error, Result};
use crate::lora::{PatchSet, Site, WeightPatch};

/// What follows the name of a site whose patch is dense.
const DENSE: &str = ".delta";

/// Where a file's metadata say what it was made of.
const ORIGIN: &str = "seqlora.fusion";

/// Writes what a fusion made, with what it was made of, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_fused(file: &Path, patches: &PatchSet, origin: &FusedOrigin) -> Result<()> {
    let origin = serde_json::to_string(origin).map_err(|error| Error::damaged(file, error))?;
    write(file, patches, [(ORIGIN.to_string(), origin)].into())
}

/// Reads what a fusion made for a model with these sites, and what it was made of, if the file says so.
///
/// # Errors
/// If the file is missing or damaged, or a tensor belongs to no site or has another shape.
pub fn read_fused(file: &Path, sites: &[Site]) -> Result<(PatchSet, Option<FusedOrigin>)> {
    let header = Header::read(file)?;
    let origin = header.metadata().get(ORIGIN);
    let origin = origin.map(|text| FusedOrigin::parse(file, text)).transpose()?;
    Ok((read_patches(file, sites)?, origin))
}

/// Writes patches, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_patches(file: &Path, patches: &PatchSet) -> Result<()> {
    write(file, patches, BTreeMap::new())
}

fn write(file: &Path, patches: &PatchSet, metadata: BTreeMap<String, String>) -> Result<()> {
    let (mut low_rank, mut dense) = (BTreeMap::new(), BorrowedTensors::new());
    for (name, patch) in &patches.0 {
        match patch {
            WeightPatch::LowRank(factors) => {
                low_rank.insert(name, factors);
            }
            WeightPatch::Dense { outputs, inputs, values } => {
                dense.insert(format!("{name}{DENSE}"), ([*outputs, *inputs], values));
            }
        }
    }
    let mut tensors = to_tensors(low_rank);
    tensors.extend(dense);
    write_arrays(file, &tensors, metadata)
}

/// Reads patches for a model with these sites.
///
/// # Errors
/// If the file is missing or damaged, or a tensor belongs to no site or has another shape.
pub fn read_patches(file: &Path, sites: &[Site]) -> Result<PatchSet> {
    let is_dense = |(name, _): &(String, _)| name.ends_with(DENSE);
    let (dense, factors): (NamedTensors, NamedTensors) =
        read_tensors(file)?.into_iter().partition(is_dense);
    let factors = from_tensors(file, factors, sites)?.0.into_iter();
    let mut patches: PatchSet =
        PatchSet(factors.map(|(name, factors)| (name, WeightPatch::LowRank(factors))).collect());
    for (name, ([outputs, inputs], values)) in dense {
        let site = name.trim_end_matches(DENSE).to_string();
        let patch = WeightPatch::Dense { outputs, inputs, values };
        if patches.0.insert(site, patch).is_some() {
            return Err(Error::damaged(
                file,
                format!("`{name}` and factors are for the same layer"),
            ));
        }
    }
    match patches.misfit(sites) {
        Some(site) => {
            let reason = format!("the patch of `{site}` fits no layer of the base model");
            Err(Error::damaged(file, reason))
        }
        None => Ok(patches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role, StoredFactors};

    fn sites() -> [Site; 2] {
        ["a", "b"].map(|name| Site {
            name: name.into(),
            inputs: 3,
            outputs: 2,
            part: Part::Denoiser,
            role: Role::SelfAttention,
        })
    }

    fn dense(outputs: usize, inputs: usize) -> WeightPatch {
        WeightPatch::Dense { outputs, inputs, values: vec![0.5; outputs * inputs] }
    }

    #[test]
    fn patches_of_both_kinds_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("patches.safetensors");
        let factors = StoredFactors { rank: 1, up: vec![1.0, 2.0], down: vec![3.0, 4.0, 5.0] };
        let both = [("a", WeightPatch::LowRank(factors)), ("b", dense(2, 3))];
        let patches = PatchSet(both.map(|(name, patch)| (name.to_string(), patch)).into());
        write_patches(&file, &patches).unwrap();
        assert_eq!(read_patches(&file, &sites()).unwrap(), patches);
    }

    #[test]
    fn what_a_file_was_made_of_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fused.safetensors");
        let origin = r#"{"version": 1, "base": "00", "method": "sum", "concepts": [{"id": "dog", "scale": 0.5}]}"#;
        let origin = FusedOrigin::parse(&file, origin).unwrap();
        let patches = PatchSet([("a".to_string(), dense(2, 3))].into());
        write_fused(&file, &patches, &origin).unwrap();
        assert_eq!(read_fused(&file, &sites()).unwrap(), (patches.clone(), Some(origin)));
        write_patches(&file, &patches).unwrap();
        assert_eq!(read_fused(&file, &sites()).unwrap(), (patches.clone(), None));
        for (text, expected) in [
            ("{", "EOF"),
            (r#"{"version": 2}"#, "newer"),
            (
                r#"{"version": 1, "base": "00", "method": "sum", "concepts": [{"id": "../a", "scale": 1}]}"#,
                "../a",
            ),
        ] {
            write(&file, &patches, [(ORIGIN.to_string(), text.to_string())].into()).unwrap();
            let error = read_fused(&file, &sites()).unwrap_err().to_string();
            assert!(error.contains("fused.safetensors") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn patches_of_other_layers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("patches.safetensors");
        for (name, patch) in [("a", dense(3, 2)), ("c", dense(2, 3))] {
            write_patches(&file, &PatchSet([(name.to_string(), patch)].into())).unwrap();
            let error = read_patches(&file, &sites()).unwrap_err().to_string();
            assert!(error.contains("patches.safetensors") && error.contains(name), "{error}");
        }
    }
}
