//! Where a component's weights lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ModelError;

/// The safetensors files of one component.
#[derive(Debug, Clone)]
pub struct WeightFiles {
    /// The component's folder.
    pub folder: PathBuf,
    /// One file, or all shards.
    pub shards: Vec<PathBuf>,
}

/// Names under which diffusers and transformers write weights, most wanted first.
const STEMS: [&str; 4] =
    ["diffusion_pytorch_model", "model", "diffusion_pytorch_model.fp16", "model.fp16"];

impl WeightFiles {
    /// Finds a component's weights: one file, or the shards that an index lists.
    ///
    /// # Errors
    /// If there are none, or the index is damaged or names a file that is not there.
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
                true => "; a .bin file is there: save the model as safetensors first",
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
