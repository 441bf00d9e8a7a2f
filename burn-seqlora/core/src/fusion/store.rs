//! Patches as a safetensors file: `<site>.lora_up` `[n, r]` and `<site>.lora_down` `[r, m]`, or
//! `<site>.delta` `[n, m]`, all f32.

use std::path::Path;

use crate::bank::formats::native;
use crate::bank::{NamedTensors, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{PatchSet, Site, WeightPatch};

/// Writes patches, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_patches(file: &Path, patches: &PatchSet) -> Result<()> {
    let mut tensors = NamedTensors::new();
    for (name, patch) in &patches.0 {
        match patch {
            WeightPatch::LowRank(factors) => native::insert(&mut tensors, name, factors),
            WeightPatch::Dense { outputs, inputs, values } => {
                tensors.insert(format!("{name}.delta"), ([*outputs, *inputs], values.clone()));
            }
        }
    }
    write_tensors(file, &tensors)
}

/// Reads patches for a model with these sites.
///
/// # Errors
/// If the file is missing or damaged, or a tensor belongs to no site or has another shape.
pub fn read_patches(file: &Path, sites: &[Site]) -> Result<PatchSet> {
    let mut tensors = read_tensors(file)?;
    let mut patches = PatchSet::default();
    for site in sites {
        let factors = native::take(file, &mut tensors, site)?;
        let delta = tensors.remove(&format!("{}.delta", site.name));
        let patch = match (factors, delta) {
            (None, None) => continue,
            (Some(factors), None) => WeightPatch::LowRank(factors),
            (None, Some(([outputs, inputs], values))) => {
                WeightPatch::Dense { outputs, inputs, values }
            }
            (Some(_), Some(_)) => {
                let reason = format!("`{}` has both factors and a `delta`", site.name);
                return Err(Error::damaged(file, reason));
            }
        };
        if !patch.fits(site) {
            let reason = format!("the patch of `{}` does not fit the layer", site.name);
            return Err(Error::damaged(file, reason));
        }
        patches.0.insert(site.name.clone(), patch);
    }
    native::check_all_taken(file, &tensors)?;
    Ok(patches)
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
