//! PEFT's folders, as its Stable Diffusion examples write them: `unet/` and `text_encoder/`, each with
//! `adapter_config.json` and `adapter_model.safetensors` (peft 0.19, `save_pretrained`).
//!
//! `base_model.model.<module>.lora_A.weight` is our Bᵀ `[r, m]`, `lora_B` our A `[n, r]`. PEFT applies
//! `lora_alpha / r`; we write alpha equal to the rank, so that the factor is 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use seqlora_files::{read_json, write_json};
use serde::{Deserialize, Serialize};

use super::AdapterFormat;
use crate::bank::tensors::{NamedTensors, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// Our sites' first name part, which is also PEFT's sub-folder.
const COMPONENTS: [&str; 2] = ["unet", "text_encoder"];

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// PEFT's LoRA of a UNet and a text encoder.
#[derive(Debug, Clone, Copy)]
pub struct Peft;

/// What of `adapter_config.json` decides the weights.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    /// Modules with another rank than `r`.
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    /// Modules with another alpha than `lora_alpha`.
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    /// Full module names; in files of others it may also be a pattern, which nobody needs to read.
    #[serde(default)]
    target_modules: serde_json::Value,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    bias: Option<String>,
}

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
        for component in COMPONENTS {
            let prefix = format!("{component}.");
            let factors = adapter.0.iter().filter_map(|(name, factors)| {
                name.strip_prefix(&prefix).map(|module| (module, factors))
            });
            let factors: BTreeMap<&str, &StoredFactors> = factors.collect();
            if !factors.is_empty() {
                write_component(&folder.join(component), &factors)?;
            }
        }
        Ok(())
    }
}

fn write_component(folder: &Path, factors: &BTreeMap<&str, &StoredFactors>) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    let rank = factors.values().map(|f| f.rank).max().expect("at least one module");
    let others = || factors.iter().filter(|(_, f)| f.rank != rank);
    let config = Config {
        peft_type: "LORA".into(),
        r: rank,
        lora_alpha: rank as f64,
        rank_pattern: others().map(|(module, f)| (module.to_string(), f.rank)).collect(),
        alpha_pattern: others().map(|(module, f)| (module.to_string(), f.rank as f64)).collect(),
        target_modules: factors.keys().copied().collect(),
        use_rslora: false,
        use_dora: false,
        bias: Some("none".into()),
    };
    write_json(&folder.join(CONFIG), &config)?;
    let mut tensors = NamedTensors::new();
    for (module, f) in factors {
        let name = |factor| format!("{PREFIX}{module}.lora_{factor}.weight");
        tensors.insert(name("A"), ([f.rank, f.inputs()], f.down.clone()));
        tensors.insert(name("B"), ([f.outputs(), f.rank], f.up.clone()));
    }
    write_tensors(&folder.join(MODEL), &tensors)
}

fn read_component(
    folder: &Path,
    component: &str,
    sites: &[Site],
    adapter: &mut StoredAdapter,
) -> Result<()> {
    let file = folder.join(CONFIG);
    let config: Config = read_json(&file)?;
    let refused = [
        (config.peft_type != "LORA", "`peft_type` is not LORA"),
        (
            config.use_dora,
            "`use_dora` scales weights by learnt magnitudes, which an adapter is not",
        ),
        (config.bias.as_ref().is_some_and(|b| b != "none"), "`bias` is trained too"),
    ];
    if let Some((_, reason)) = refused.iter().find(|(refused, _)| *refused) {
        return Err(Error::damaged(&file, reason));
    }
    let file = folder.join(MODEL);
    let mut tensors = read_tensors(&file)?;
    for site in sites {
        let Some(module) = site.name.strip_prefix(&format!("{component}.")) else { continue };
        let mut take = |factor| tensors.remove(&format!("{PREFIX}{module}.lora_{factor}.weight"));
        match (take("B"), take("A")) {
            (None, None) => {}
            (Some(([n, r], up)), Some(([rank, m], down)))
                if r == rank && r > 0 && n == site.outputs && m == site.inputs =>
            {
                let scale = config.scale(module, rank) as f32;
                let up = up.into_iter().map(|x| x * scale).collect();
                adapter.0.insert(site.name.clone(), StoredFactors { rank, up, down });
            }
            _ => {
                let reason = format!("the factors of `{module}` do not fit the layer");
                return Err(Error::damaged(&file, reason));
            }
        }
    }
    match tensors.keys().next() {
        Some(key) => {
            Err(Error::damaged(&file, format!("`{key}` belongs to no layer of the base model")))
        }
        None => Ok(()),
    }
}

impl Config {
    /// What PEFT multiplies the product of the factors with.
    fn scale(&self, module: &str, rank: usize) -> f64 {
        // PEFT matches the keys of a pattern against the end of a module's name.
        let matches = |key: &str| module == key || module.ends_with(&format!(".{key}"));
        let own = self.alpha_pattern.iter().find(|(key, _)| matches(key));
        let alpha = own.map_or(self.lora_alpha, |(_, alpha)| *alpha);
        if self.use_rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};

    fn site(name: &str) -> Site {
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        Site { name: name.into(), inputs: 3, outputs: 2, part, role }
    }

    fn factors(rank: usize) -> StoredFactors {
        let numbers = |count| (0..count).map(|x| x as f32 / 7.0).collect();
        StoredFactors { rank, up: numbers(2 * rank), down: numbers(3 * rank) }
    }

    #[test]
    fn ranks_and_both_components_come_back() {
        let sites = [site("unet.a.to_k"), site("unet.b.to_k"), site("text_encoder.q")];
        let ranks = [2, 1, 3];
        let entries = sites.iter().zip(ranks).map(|(s, rank)| (s.name.clone(), factors(rank)));
        let adapter = StoredAdapter(entries.collect());
        let folder = tempfile::tempdir().unwrap();
        assert!(!Peft.detect(folder.path()));
        Peft.write(folder.path(), &adapter, &sites).unwrap();
        assert!(Peft.detect(folder.path()));
        assert_eq!(Peft.read(folder.path(), &sites).unwrap(), adapter);
        let missing = Peft.read(folder.path(), &sites[1..]).unwrap_err().to_string();
        assert!(missing.contains("a.to_k") && missing.contains("no layer"), "{missing}");
    }

    #[test]
    fn alpha_scales_and_what_is_no_lora_is_refused() {
        let sites = [site("unet.a.to_k"), site("unet.b.to_k")];
        let entries = sites.iter().map(|s| (s.name.clone(), factors(2)));
        let adapter = StoredAdapter(entries.collect());
        let folder = tempfile::tempdir().unwrap();
        Peft.write(folder.path(), &adapter, &sites).unwrap();
        let file = folder.path().join("unet").join(CONFIG);
        let change = |key: &str, value: serde_json::Value| {
            let mut config: serde_json::Value = read_json(&file).unwrap();
            config[key] = value;
            write_json(&file, &config).unwrap();
        };
        change("lora_alpha", 6.into());
        change("alpha_pattern", serde_json::json!({"b.to_k": 1}));
        let read = Peft.read(folder.path(), &sites).unwrap();
        let up = |name: &str| read.get(name).unwrap().up[1];
        let expected = factors(2).up[1];
        assert_eq!((up("unet.a.to_k"), up("unet.b.to_k")), (expected * 3.0, expected * 0.5));
        change("use_dora", true.into());
        assert!(Peft.read(folder.path(), &sites).unwrap_err().to_string().contains("use_dora"));
    }
}
