//! The files of a diffusers model, in a folder or in the listing of a repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ModelError;

/// The safetensors files of one component.
#[derive(Debug, Clone)]
pub struct WeightFiles {
    /// The component's folder, or the single file.
    pub folder: PathBuf,
    /// One file, or all shards.
    pub shards: Vec<PathBuf>,
}

/// The parts of a model that have weights.
pub const COMPONENTS: [&str; 3] = ["unet", "text_encoder", "vae"];

/// The names under which diffusers and transformers write weights; the first that exists is used.
const STEMS: [&str; 4] =
    ["diffusion_pytorch_model", "model", "diffusion_pytorch_model.fp16", "model.fp16"];

/// The files of a tokenizer folder, of which only the vocabulary is required.
const TOKENIZER: [&str; 6] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "merges.txt",
    "vocab.json",
];

/// The files that a model is loaded from, among all `files` of a repository (paths with `/`).
///
/// Weights come last, so a copy that has its weights has all small files too.
///
/// # Errors
/// [`ModelError::Incomplete`], which names the first file that is missing.
pub fn needed_files<'a>(files: &[&'a str]) -> Result<Vec<&'a str>, ModelError> {
    let find = |name: &str| files.iter().copied().find(|file| *file == name);
    let one = |name: String| find(&name).ok_or(ModelError::Incomplete { missing: name });
    let mut needed = vec![one("scheduler/scheduler_config.json".into())?];
    for component in COMPONENTS {
        needed.push(one(format!("{component}/config.json"))?);
    }
    needed.extend(TOKENIZER.iter().filter_map(|name| find(&format!("tokenizer/{name}"))));
    if find("tokenizer/tokenizer.json").is_none() {
        one("tokenizer/vocab.json".into())?;
        one("tokenizer/merges.txt".into())?;
    }
    for component in COMPONENTS {
        let single = |stem| find(&format!("{component}/{stem}.safetensors")).map(|file| vec![file]);
        let sharded = |stem| {
            let index = find(&format!("{component}/{stem}.safetensors.index.json"))?;
            let start = format!("{component}/{stem}-");
            let is_shard = |file: &&str| {
                let number = file.strip_prefix(&start).and_then(|f| f.strip_suffix(".safetensors"));
                number.is_some_and(|number| !number.contains('/'))
            };
            let mut shards: Vec<&str> = files.iter().copied().filter(is_shard).collect();
            // The last number of `-00001-of-00002.safetensors` is the number of shards.
            let (_, count) = shards.first()?.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
            let complete = count.parse() == Ok(shards.len());
            shards.push(index);
            complete.then_some(shards)
        };
        let weights = STEMS.iter().find_map(|stem| single(stem).or_else(|| sharded(stem)));
        needed.extend(weights.ok_or_else(|| ModelError::Incomplete {
            missing: format!("{component}/{}.safetensors", STEMS[0]),
        })?);
    }
    Ok(needed)
}

impl WeightFiles {
    /// Finds a component's weights: one file, or the shards that an index lists.
    ///
    /// # Errors
    /// If there are no weights, or the index is damaged or names a missing file.
    pub fn find(folder: &Path) -> Result<Self, ModelError> {
        for stem in STEMS {
            let single = folder.join(format!("{stem}.safetensors"));
            if single.is_file() {
                return Ok(Self { folder: folder.into(), shards: vec![single] });
            }
            let index = folder.join(format!("{stem}.safetensors.index.json"));
            if index.is_file() {
                return Ok(Self { folder: folder.into(), shards: shards(folder, &index)? });
            }
        }
        let has_pickle = STEMS.iter().any(|stem| folder.join(format!("{stem}.bin")).is_file());
        Err(ModelError::NoWeights {
            folder: folder.into(),
            expected: format!("{}.safetensors or {}.safetensors", STEMS[0], STEMS[1]),
            hint: match has_pickle {
                true => "; a .bin file is there; save the model as safetensors first",
                false => "",
            },
        })
    }
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let text = std::fs::read_to_string(index).map_err(ModelError::io(index))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| ModelError::config(index, e))?;
    let map = json["weight_map"].as_object();
    let map = map.ok_or_else(|| ModelError::config(index, "`weight_map` is missing"))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        Some(file) => {
            let reason = format!("it lists {}, which is not there", file.display());
            Err(ModelError::config(index, reason))
        }
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a typical repository, including some that are not needed.
    const REPOSITORY: [&str; 18] = [
        "README.md",
        "model_index.json",
        "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "v1-5-pruned.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ];

    #[test]
    fn only_what_a_model_is_loaded_from_is_needed() {
        let needed = needed_files(&REPOSITORY).unwrap();
        let left: Vec<_> = REPOSITORY.iter().filter(|file| !needed.contains(file)).collect();
        let others = ["README.md", "model_index.json", "safety_checker/model.safetensors"];
        let weights = ["text_encoder/model.fp16.safetensors", "v1-5-pruned.safetensors"];
        assert_eq!(left.into_iter().copied().collect::<Vec<_>>(), [&others[..], &weights].concat());
        let first_weight = needed.iter().position(|file| file.contains(".safetensors")).unwrap();
        assert!(needed[first_weight..].iter().all(|file| file.contains(".safetensors")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            ("unet/config.json", "unet/config.json"),
            ("tokenizer/merges.txt", "tokenizer/merges.txt"),
            ("vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.saf"),
            ("unet/diffusion_pytorch_model.safetensors.index.json", "unet/diffusion_pytorch_model"),
        ];
        for (absent, expected) in cases {
            let files: Vec<_> = REPOSITORY.into_iter().filter(|file| *file != absent).collect();
            let error = needed_files(&files).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
