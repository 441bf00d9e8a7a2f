//! PEFT's folders, as its Stable Diffusion examples write them: `unet/` and `text_encoder/`, each with
//! `adapter_config.json` and `adapter_model.safetensors` (peft 0.21, `save_pretrained`). One of them by itself is read
//! too, and so is the `adapter_model.bin` of older versions.
//!
//! `base_model.model.<module>.lora_A.weight` is our Bᵀ `[r, m]`, `lora_B` our A `[n, r]`, and PEFT
//! multiplies their product with `lora_alpha / r`. On reading, that goes into A; on writing, alpha is
//! the rank. tests/tests/formats.rs compares both ways with PEFT itself.

mod config;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use seqlora_files::{Header, write_json};

pub(super) use self::config::Config;
use super::modules::{Piece, read_modules};
use super::source::file_in;
use super::{AdapterCard, AdapterFormat, ForeignAdapter, Module, Source};
use crate::bank::tensors::{NamedTensors, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{StoredAdapter, StoredFactors};

/// The first part of our sites' names, which is also the name of PEFT's folder.
pub(super) const COMPONENTS: [&str; 2] = ["unet", "text_encoder"];

/// Begins the module paths of transformers' `CLIPTextModel` before version 5. Our sites have it; both are
/// read, and what is written has the paths of version 5.
pub(super) const TEXT_MODEL: &str = "text_model.";

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
/// The second is that of older versions, a pickle, of which nothing is executed.
const MODELS: [&str; 2] = [MODEL, "adapter_model.bin"];
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

    fn detect(&self, source: &Source) -> bool {
        match source {
            Source::Folder(folder) => {
                COMPONENTS.iter().map(|name| folder.join(name)).any(|folder| is_component(&folder))
                    || is_component(folder)
            }
            Source::File(_) => false,
        }
    }

    fn read(&self, source: Source) -> Result<ForeignAdapter> {
        let path = source.path().to_path_buf();
        let (mut all, mut missing) = (BTreeMap::new(), Vec::new());
        for component in COMPONENTS {
            let folder = path.join(component);
            if is_component(&folder) {
                let (modules, others) = read_component(&folder, component)?;
                all.extend(modules);
                missing.extend(others);
            }
        }
        if is_component(&path) && all.is_empty() {
            let component = component_of(&Header::read(&file_in(&path, &MODELS))?);
            (all, missing) = read_component(&path, component)?;
        }
        let (words, metadata) = (BTreeMap::new(), BTreeMap::new());
        Ok(ForeignAdapter { path, modules: all, words, metadata, missing, is_changed: false })
    }

    fn module_names(&self, site: &str) -> Vec<String> {
        both_versions(site)
    }

    fn write(&self, folder: &Path, adapter: &StoredAdapter, _: &AdapterCard) -> Result<()> {
        let mut components: BTreeMap<&str, BTreeMap<&str, &StoredFactors>> = BTreeMap::new();
        for (name, factors) in &adapter.0 {
            let (component, module) = split_site(name);
            if !COMPONENTS.contains(&component) {
                return Err(Error::damaged(folder, format!("PEFT has no place for `{name}`")));
            }
            let module = module.strip_prefix(TEXT_MODEL).unwrap_or(module);
            components.entry(component).or_default().insert(module, factors);
        }
        for (component, factors) in components {
            write_component(&folder.join(component), &factors)?;
        }
        Ok(())
    }
}

/// A module's names with transformers 5, and before.
pub(super) fn both_versions(site: &str) -> Vec<String> {
    let (component, module) = split_site(site);
    let short = module.strip_prefix(TEXT_MODEL).map(|short| format!("{component}.{short}"));
    short.into_iter().chain([site.to_string()]).collect()
}

/// A site's component, and the path of its module there.
fn split_site(site: &str) -> (&str, &str) {
    site.split_once('.').unwrap_or((site, ""))
}

/// Whether a component or a part of one is in a folder.
fn is_component(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() || MODELS.iter().any(|name| folder.join(name).is_file())
}

/// Whose modules lie in a folder by itself, which no file says: a text encoder's paths begin with those of its layers.
fn component_of(header: &Header) -> &'static str {
    let is_text = |key: &String| {
        let module = key.strip_prefix(PREFIX).unwrap_or(key);
        module.strip_prefix(TEXT_MODEL).unwrap_or(module).starts_with("encoder.")
    };
    COMPONENTS[usize::from(header.tensors().keys().any(is_text))]
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

/// The modules that the settings of a component list and that are not among these.
pub(super) fn missing_modules(
    config: &Config,
    component: &str,
    modules: &BTreeMap<String, Module>,
) -> Vec<String> {
    // The settings may have the longer paths of text encoders, whichever the file has.
    let paths = |name: &String| {
        let (component, module) = split_site(name);
        [name.clone(), format!("{component}.{TEXT_MODEL}{module}")]
    };
    let own = modules.keys().filter(|name| split_site(name).0 == component);
    let missing = config.missing(own.flat_map(paths));
    missing.into_iter().map(|path| format!("{component}.{path}")).collect()
}

/// The modules of a component by their names in the format, which begin with the component's, and those that it lists
/// besides.
fn read_component(
    folder: &Path,
    component: &str,
) -> Result<(BTreeMap<String, Module>, Vec<String>)> {
    let (settings, file) = (folder.join(CONFIG), file_in(folder, &MODELS));
    if !settings.is_file() && file.is_file() {
        let reason = format!(
            "{} is missing, without which its weights have no scale; copy the folder again",
            settings.display()
        );
        return Err(Error::damaged(folder, reason));
    }
    let config = Config::read(&settings)?;
    let split = |key: &str| {
        let key = key.strip_prefix(PREFIX)?;
        let piece = |end, piece| Some((key.strip_suffix(end)?.to_string(), piece));
        piece(A, Piece::Down).or_else(|| piece(B, Piece::Up))
    };
    let scaled = |(name, module): (String, Module)| {
        let rank = config.rank(&name);
        if module.rank != rank {
            let found = module.rank;
            let reason = format!("`{name}` has rank {found}, and {CONFIG} says {rank}");
            return Err(Error::damaged(&file, reason));
        }
        let scale = config.scale(&name);
        Ok((format!("{component}.{name}"), module.scaled(scale)))
    };
    let modules = read_modules(&Header::read(&file)?, split)?.into_iter().map(scaled);
    let modules = modules.collect::<Result<BTreeMap<_, _>>>()?;
    let missing = missing_modules(&config, component, &modules);
    Ok((modules, missing))
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::testing::{card, factors, site};
    use super::*;
    use crate::lora::Site;
    use seqlora_files::read_json;
    use serde_json::{Value, json};

    /// Sites, and a folder with an adapter of this rank at all of them.
    fn written(names: &[&str], rank: usize) -> (Vec<Site>, tempfile::TempDir) {
        let sites: Vec<Site> = names.iter().map(|name| site(name)).collect();
        let entries = sites.iter().map(|s| (s.name.clone(), factors(rank)));
        let folder = tempfile::tempdir().unwrap();
        Peft.write(folder.path(), &StoredAdapter(entries.collect()), &card("dog6")).unwrap();
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
        let source = || Source::open(folder.path()).unwrap();
        assert!(!Peft.detect(&source()));
        Peft.write(folder.path(), &adapter, &card("dog6")).unwrap();
        assert!(Peft.detect(&source()));
        assert_eq!(read(folder.path(), &sites).unwrap(), adapter);
        let missing = read(folder.path(), &sites[1..]).unwrap_err().to_string();
        assert!(missing.contains("`unet.a.to_k` belongs to no layer"), "{missing}");
    }

    #[test]
    fn a_component_by_itself_is_read() {
        let names = ["unet.a.to_k", "text_encoder.text_model.encoder.q_proj"];
        let (sites, folder) = written(&names, 2);
        for (component, site) in COMPONENTS.into_iter().zip(&sites) {
            let folder = folder.path().join(component);
            let found = read(&folder, &sites).unwrap();
            assert_eq!(found.0.keys().collect::<Vec<_>>(), [&site.name]);
        }
    }

    /// Of a folder that was copied in part nothing is used, wherever the part is.
    #[test]
    fn weights_without_their_config_are_refused() {
        let names = ["unet.a.to_k", "text_encoder.text_model.encoder.q_proj"];
        for component in COMPONENTS {
            let (sites, folder) = written(&names, 2);
            let part = folder.path().join(component);
            let config = part.join(CONFIG);
            fs::rename(&config, part.join("adapter_config.json.part")).unwrap();
            for path in [folder.path(), part.as_path()] {
                let error = read(path, &sites).unwrap_err().to_string();
                let missing = format!("{} is missing", config.display());
                assert!(error.contains(&missing), "{error}");
            }
        }
    }

    #[test]
    fn modules_that_are_listed_and_missing_are_told() {
        let text = "text_encoder.text_model.encoder.q_proj";
        let (_, folder) = written(&["unet.a.to_k", "unet.b.to_k", text], 2);
        let missing = |path: &Path| super::super::open(path).unwrap().1.missing;
        assert_eq!(missing(folder.path()), [""; 0]);
        let unet = folder.path().join("unet");
        let mut tensors = crate::bank::read_tensors(&unet.join(MODEL)).unwrap();
        tensors.retain(|key, _| !key.contains("b.to_k"));
        write_tensors(&unet.join(MODEL), &tensors).unwrap();
        assert_eq!(missing(folder.path()), ["unet.b.to_k"]);
        assert_eq!(missing(&unet), ["unet.b.to_k"]);
    }

    #[test]
    fn alpha_goes_into_the_first_factor() {
        let (sites, folder) = written(&["unet.a.to_k", "unet.b.to_k"], 2);
        let file = folder.path().join("unet").join(CONFIG);
        let mut config: Value = read_json(&file).unwrap();
        config["lora_alpha"] = 6.into();
        config["alpha_pattern"] = json!({ "b.to_k": 1 });
        write_json(&file, &config).unwrap();
        let found = read(folder.path(), &sites).unwrap();
        let up = |name: &str| found.get(name).unwrap().up[1];
        let expected = factors(2).up[1];
        assert_eq!((up("unet.a.to_k"), up("unet.b.to_k")), (expected * 3.0, expected * 0.5));

        config["lora_alpha"] = json!(1e300);
        write_json(&file, &config).unwrap();
        let error = read(folder.path(), &sites).unwrap_err().to_string();
        assert!(error.contains("`unet.a.to_k` is not finite"), "{error}");
    }

    #[test]
    fn damaged_factors_are_named() {
        let (sites, folder) = written(&["unet.a.to_k", "unet.b.to_k"], 2);
        let file = folder.path().join("unet").join(MODEL);
        let whole = crate::bank::read_tensors(&file).unwrap();
        let refused = |change: &dyn Fn(&mut NamedTensors), text: &str| {
            let mut tensors = whole.clone();
            change(&mut tensors);
            write_tensors(&file, &tensors).unwrap();
            let error = read(folder.path(), &sites).unwrap_err().to_string();
            assert!(error.contains("unet") && error.contains(text), "{error}");
        };
        let key = |factor| format!("{PREFIX}a.to_k{factor}");
        refused(&|t| drop(t.remove(&key(B))), "`a.to_k` has one factor instead of two");
        refused(&|t| drop(t.remove(&key(A))), "`a.to_k` has one factor instead of two");
        let thin = |t: &mut NamedTensors| drop(t.insert(key(A), ([1, 3], vec![0.0; 3])));
        refused(&thin, "[2, 2] and [1, 3], which do not fit");
        let narrow = |t: &mut NamedTensors| drop(t.insert(key(A), ([2, 2], vec![0.0; 4])));
        refused(&narrow, "2 inputs and 2 outputs, and the model's layer has 3 and 2");
        let error = read(folder.path(), &sites).unwrap_err().to_string();
        assert!(error.contains("an adapter of another model: `unet.a.to_k` has"), "{error}");
        assert!(!error.contains("damaged"), "{error}");
        let smaller = |t: &mut NamedTensors| {
            t.insert(key(A), ([1, 3], vec![0.0; 3]));
            t.insert(key(B), ([2, 1], vec![0.0; 2]));
        };
        refused(&smaller, "`a.to_k` has rank 1, and adapter_config.json says 2");
        let elsewhere = |t: &mut NamedTensors| drop(t.insert("a.to_k".into(), ([1, 1], vec![0.0])));
        refused(&elsewhere, "`a.to_k` is not a factor");
    }

    #[test]
    fn a_module_under_both_names_is_refused() {
        let (sites, folder) = written(&["text_encoder.text_model.q_proj"], 2);
        let file = folder.path().join("text_encoder").join(MODEL);
        let mut tensors = crate::bank::read_tensors(&file).unwrap();
        for (key, matrix) in tensors.clone() {
            tensors.insert(key.replace(PREFIX, &format!("{PREFIX}{TEXT_MODEL}")), matrix);
        }
        write_tensors(&file, &tensors).unwrap();
        let error = read(folder.path(), &sites).unwrap_err().to_string();
        assert!(error.contains("under two names"), "{error}");
    }

    #[test]
    fn sites_of_other_components_cannot_be_written() {
        let adapter = StoredAdapter(BTreeMap::from([("text_encoder_2.q".into(), factors(1))]));
        let error = Peft.write(Path::new("nowhere"), &adapter, &card("a")).unwrap_err().to_string();
        assert!(error.contains("`text_encoder_2.q`"), "{error}");
    }
}
