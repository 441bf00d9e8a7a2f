//! PEFT's folders, as its Stable Diffusion examples write them: `unet/` and `text_encoder/`, each with
//! `adapter_config.json` and `adapter_model.safetensors` (peft 0.21, `save_pretrained`).
//!
//! `base_model.model.<module>.lora_A.weight` is our Bᵀ `[r, m]`, `lora_B` our A `[n, r]`, and PEFT
//! multiplies their product with `lora_alpha / r`. On reading, that goes into A; on writing, alpha is
//! the rank. tests/tests/formats.rs compares both ways with PEFT itself.

mod config;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use seqlora_files::write_json;

use self::config::Config;
use super::AdapterFormat;
use crate::bank::tensors::{Matrix, NamedTensors, read_float_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// The first part of our sites' names, which is also the name of PEFT's folder.
const COMPONENTS: [&str; 2] = ["unet", "text_encoder"];

/// Begins the module paths of transformers' `CLIPTextModel` before version 5. Our sites have it; both are
/// read, and what is written has the paths of version 5.
const TEXT_MODEL: &str = "text_model.";

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// PEFT's LoRA of a UNet and a text encoder.
#[derive(Debug, Clone, Copy)]
pub struct Peft;

impl AdapterFormat for Peft {
    fn name(&self) -> &'static str {
        "peft"
    }

    fn detect(&self, folder: &Path) -> bool {
        COMPONENTS.iter().any(|component| folder.join(component).join(CONFIG).is_file())
    }

    fn read(&self, folder: &Path, sites: &[Site]) -> Result<StoredAdapter> {
        let mut adapter = StoredAdapter::default();
        for component in COMPONENTS {
            let folder = folder.join(component);
            if folder.join(CONFIG).is_file() {
                read_component(&folder, component, sites, &mut adapter)?;
            }
        }
        Ok(adapter)
    }

    fn write(&self, folder: &Path, adapter: &StoredAdapter, _: &[Site]) -> Result<()> {
        let mut components: BTreeMap<&str, BTreeMap<&str, &StoredFactors>> = BTreeMap::new();
        for (name, factors) in &adapter.0 {
            let (component, module) = name
                .split_once('.')
                .filter(|(component, _)| COMPONENTS.contains(component))
                .ok_or_else(|| Error::damaged(folder, format!("PEFT has no place for `{name}`")))?;
            let module = module.strip_prefix(TEXT_MODEL).unwrap_or(module);
            components.entry(component).or_default().insert(module, factors);
        }
        for (component, factors) in components {
            write_component(&folder.join(component), &factors)?;
        }
        Ok(())
    }
}

fn write_component(folder: &Path, factors: &BTreeMap<&str, &StoredFactors>) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    let ranks = factors.iter().map(|(module, f)| (*module, f.rank)).collect();
    write_json(&folder.join(CONFIG), &config::plain(&ranks))?;
    let mut tensors = NamedTensors::new();
    for (module, f) in factors {
        tensors.insert(format!("{PREFIX}{module}{A}"), ([f.rank, f.inputs()], f.down.clone()));
        tensors.insert(format!("{PREFIX}{module}{B}"), ([f.outputs(), f.rank], f.up.clone()));
    }
    write_tensors(&folder.join(MODEL), &tensors)
}

fn read_component(
    folder: &Path,
    component: &str,
    sites: &[Site],
    adapter: &mut StoredAdapter,
) -> Result<()> {
    let config = Config::read(&folder.join(CONFIG))?;
    let file = folder.join(MODEL);
    let mut tensors = read_float_tensors(&file)?;
    let sites: BTreeMap<&str, &Site> = sites.iter().map(|s| (s.name.as_str(), s)).collect();
    while let Some((key, down)) = tensors.pop_first() {
        // In the order of the names A comes before B, which is taken with it.
        let Some((module, site)) = module_of(&key, component, &sites) else {
            let reason = format!("`{key}` is not one of two factors of a layer of the base model");
            return Err(Error::damaged(&file, reason));
        };
        let up = tensors.remove(&format!("{PREFIX}{module}{B}"));
        let factors = factors(&config, module, site, up, down)
            .map_err(|reason| Error::damaged(&file, format!("`{module}` {reason}")))?;
        if adapter.0.insert(site.name.clone(), factors).is_some() {
            return Err(Error::damaged(&file, format!("`{module}` is there twice")));
        }
    }
    Ok(())
}

/// The module whose factor A has this key, and its site.
fn module_of<'a>(
    key: &'a str,
    component: &str,
    sites: &BTreeMap<&str, &'a Site>,
) -> Option<(&'a str, &'a Site)> {
    let module = key.strip_prefix(PREFIX)?.strip_suffix(A)?;
    let names = [format!("{component}.{module}"), format!("{component}.{TEXT_MODEL}{module}")];
    let site = names.iter().find_map(|name| sites.get(name.as_str()))?;
    Some((module, site))
}

/// The factors of a module, or what is wrong with them.
fn factors(
    config: &Config,
    module: &str,
    site: &Site,
    up: Option<Matrix>,
    (down_shape, down): Matrix,
) -> Result<StoredFactors, String> {
    let rank = config.rank(module);
    let Some((up_shape, mut up)) = up else { return Err(format!("has no {B}")) };
    let expected = ([site.outputs, rank], [rank, site.inputs]);
    if rank == 0 || (up_shape, down_shape) != expected {
        return Err(format!(
            "has factors of shapes {up_shape:?} and {down_shape:?}, expected {:?} and {:?}",
            expected.0, expected.1
        ));
    }
    let scale = config.scale(module) as f32;
    up.iter_mut().for_each(|x| *x *= scale);
    match up.iter().all(|x| x.is_finite()) {
        true => Ok(StoredFactors { rank, up, down }),
        false => Err(format!("is not finite any more when it is multiplied with {scale}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};
    use seqlora_files::read_json;
    use serde_json::{Value, json};

    fn site(name: &str) -> Site {
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        Site { name: name.into(), inputs: 3, outputs: 2, part, role }
    }

    fn factors(rank: usize) -> StoredFactors {
        let numbers = |count| (0..count).map(|x| x as f32 / 7.0).collect();
        StoredFactors { rank, up: numbers(2 * rank), down: numbers(3 * rank) }
    }

    /// Sites, and a folder with an adapter of this rank at all of them.
    fn written(names: &[&str], rank: usize) -> (Vec<Site>, tempfile::TempDir) {
        let sites: Vec<Site> = names.iter().map(|name| site(name)).collect();
        let entries = sites.iter().map(|s| (s.name.clone(), factors(rank)));
        let folder = tempfile::tempdir().unwrap();
        Peft.write(folder.path(), &StoredAdapter(entries.collect()), &sites).unwrap();
        (sites, folder)
    }

    #[test]
    fn ranks_and_both_components_come_back() {
        let text = "text_encoder.text_model.encoder.q_proj";
        let sites = ["unet.a.to_k", "unet.b.to_k", text].map(site);
        let ranks = [2, 1, 3];
        let entries = sites.iter().zip(ranks).map(|(s, rank)| (s.name.clone(), factors(rank)));
        let adapter = StoredAdapter(entries.collect());
        let folder = tempfile::tempdir().unwrap();
        assert!(!Peft.detect(folder.path()));
        Peft.write(folder.path(), &adapter, &sites).unwrap();
        assert!(Peft.detect(folder.path()));
        assert_eq!(Peft.read(folder.path(), &sites).unwrap(), adapter);
        let missing = Peft.read(folder.path(), &sites[1..]).unwrap_err().to_string();
        assert!(missing.contains("a.to_k.lora_A.weight` is not one of"), "{missing}");
    }

    #[test]
    fn alpha_goes_into_the_first_factor() {
        let (sites, folder) = written(&["unet.a.to_k", "unet.b.to_k"], 2);
        let file = folder.path().join("unet").join(CONFIG);
        let mut config: Value = read_json(&file).unwrap();
        config["lora_alpha"] = 6.into();
        config["alpha_pattern"] = json!({ "b.to_k": 1 });
        write_json(&file, &config).unwrap();
        let read = Peft.read(folder.path(), &sites).unwrap();
        let up = |name: &str| read.get(name).unwrap().up[1];
        let expected = factors(2).up[1];
        assert_eq!((up("unet.a.to_k"), up("unet.b.to_k")), (expected * 3.0, expected * 0.5));

        config["lora_alpha"] = json!(1e300);
        write_json(&file, &config).unwrap();
        let error = Peft.read(folder.path(), &sites).unwrap_err().to_string();
        assert!(error.contains("`a.to_k` is not finite"), "{error}");
    }

    #[test]
    fn damaged_factors_are_named() {
        let (sites, folder) = written(&["unet.a.to_k", "unet.b.to_k"], 2);
        let file = folder.path().join("unet").join(MODEL);
        let whole = read_float_tensors(&file).unwrap();
        let refused = |change: &dyn Fn(&mut NamedTensors), text: &str| {
            let mut tensors = whole.clone();
            change(&mut tensors);
            write_tensors(&file, &tensors).unwrap();
            let error = Peft.read(folder.path(), &sites).unwrap_err().to_string();
            assert!(error.contains(MODEL) && error.contains(text), "{error}");
        };
        let key = |factor| format!("{PREFIX}a.to_k{factor}");
        refused(&|t| drop(t.remove(&key(B))), "`a.to_k` has no .lora_B.weight");
        refused(&|t| drop(t.remove(&key(A))), "a.to_k.lora_B.weight` is not one of two factors");
        let thin = |t: &mut NamedTensors| drop(t.insert(key(A), ([1, 3], vec![0.0; 3])));
        refused(&thin, "[1, 3], expected [2, 2] and [2, 3]");
        let elsewhere = |t: &mut NamedTensors| drop(t.insert("a.to_k".into(), ([1, 1], vec![0.0])));
        refused(&elsewhere, "`a.to_k` is not one of two factors");
    }

    #[test]
    fn a_module_under_both_names_is_refused() {
        let (sites, folder) = written(&["text_encoder.text_model.q_proj"], 2);
        let file = folder.path().join("text_encoder").join(MODEL);
        let mut tensors = read_float_tensors(&file).unwrap();
        for (key, matrix) in tensors.clone() {
            tensors.insert(key.replace(PREFIX, &format!("{PREFIX}{TEXT_MODEL}")), matrix);
        }
        write_tensors(&file, &tensors).unwrap();
        let error = Peft.read(folder.path(), &sites).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn sites_of_other_components_cannot_be_written() {
        let adapter = StoredAdapter(BTreeMap::from([("text_encoder_2.q".into(), factors(1))]));
        let error = Peft.write(Path::new("nowhere"), &adapter, &[]).unwrap_err().to_string();
        assert!(error.contains("`text_encoder_2.q`"), "{error}");
    }
}
