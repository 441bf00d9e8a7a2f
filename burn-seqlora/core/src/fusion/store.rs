//! Patches as a safetensors file: `<site>.lora_up` `[n, r]` and `<site>.lora_down` `[r, m]` as in a bank,
//! or `<site>.delta` `[n, m]`, all f32.

use std::path::Path;

use crate::bank::formats::{from_tensors, to_tensors};
use crate::bank::{NamedTensors, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{PatchSet, Site, StoredAdapter, WeightPatch};

/// What follows the name of a site whose patch is dense.
const DENSE: &str = ".delta";

/// Writes patches, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_patches(file: &Path, patches: &PatchSet) -> Result<()> {
    let (mut low_rank, mut dense) = (StoredAdapter::default(), NamedTensors::new());
    for (name, patch) in &patches.0 {
        match patch {
            WeightPatch::LowRank(factors) => {
                low_rank.0.insert(name.clone(), factors.clone());
            }
            WeightPatch::Dense { outputs, inputs, values } => {
                dense.insert(format!("{name}{DENSE}"), ([*outputs, *inputs], values.clone()));
            }
        }
    }
    let mut tensors = to_tensors(&low_rank);
    tensors.extend(dense);
    write_tensors(file, &tensors)
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
