//! What a fusion has done so far, in a folder: a stopped fusion goes on there, and several machines share it.
//!
//! | path | contents |
//! |---|---|
//! | `fusion.json` | what is fused, of which model and how |
//! | `<stage>/inputs/<id>/` | the statistics of a concept's inputs, until the stage is done |
//! | `<stage>/layers/<site>.safetensors` | the patch of a layer |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use seqlora_files::{read_json, to_json, write_new};
use serde::{Deserialize, Serialize};

use super::stage::Stage;
use super::statistics::StatisticsFolder;
use super::store::{read_patches, write_patches};
use crate::error::{Error, Result};
use crate::lora::{PatchSet, Site, WeightPatch};

/// What is fused: two fusions with the same record give the same patches.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionRecord {
    pub version: u32,
    /// The digest of the base model's weights.
    pub base: String,
    /// The type of the numbers that the model computes with.
    pub precision: String,
    /// The fusion and its settings.
    pub fusion: String,
    /// The ids, strengths and digests of the concepts.
    pub concepts: Vec<(String, f64, String)>,
    /// The digest of the sampler's steps.
    pub sampler: String,
    pub seed: u64,
}

/// The newest layout.
pub const VERSION: u32 = 1;

/// A folder with what a fusion has done so far. For Stable Diffusion 1.5 it takes up to 0.4 GB per concept.
#[derive(Debug, Clone)]
pub struct FusionFolder {
    path: PathBuf,
}

impl FusionFolder {
    /// A folder, which a fusion creates if necessary.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        remove_all(&self.path)
    }

    /// Takes the folder for a fusion.
    ///
    /// # Errors
    /// If it holds another fusion or cannot be written.
    pub(super) fn open(&self, record: &FusionRecord) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("cannot create", &self.path))?;
        let file = self.path.join("fusion.json");
        if !write_new(&file, &to_json(&file, record)?)?
            && read_json::<FusionRecord>(&file)? != *record
        {
            let path = self.path.display();
            return Err(Error::Invalid(format!(
                "{path} holds the beginning of a fusion of other concepts or with other settings; remove it to \
                 begin anew"
            )));
        }
        Ok(())
    }

    /// The statistics of a stage.
    pub(super) fn statistics(&self, stage: Stage) -> StatisticsFolder {
        StatisticsFolder::new(self.path.join(stage.name()).join("inputs"))
    }

    /// Removes the statistics of a stage.
    pub(super) fn remove_statistics(&self, stage: Stage) -> Result<()> {
        remove_all(&self.path.join(stage.name()).join("inputs"))
    }

    /// Whether a layer is fused.
    pub(super) fn has_layer(&self, stage: Stage, site: &Site) -> bool {
        self.layer(stage, &site.name).is_file()
    }

    /// Keeps the patch of a layer.
    pub(super) fn keep_layer(&self, stage: Stage, site: &str, patch: WeightPatch) -> Result<()> {
        let file = self.layer(stage, site);
        let folder = self.path.join(stage.name()).join("layers");
        fs::create_dir_all(&folder).map_err(Error::io("cannot create", &folder))?;
        write_patches(&file, &PatchSet([(site.to_string(), patch)].into()))
    }

    /// Adds the patch of a layer that is fused to others.
    pub(super) fn read_layer(&self, stage: Stage, site: &Site, to: &mut PatchSet) -> Result<()> {
        let patches = read_patches(&self.layer(stage, &site.name), std::slice::from_ref(site))?;
        to.0.extend(patches.0);
        Ok(())
    }

    fn layer(&self, stage: Stage, site: &str) -> PathBuf {
        self.path.join(stage.name()).join("layers").join(format!("{site}.safetensors"))
    }
}

/// Removes a folder with all that is in it. Others may do the same at the same time.
fn remove_all(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: u64) -> FusionRecord {
        FusionRecord {
            version: VERSION,
            base: "base".into(),
            precision: "F32".into(),
            fusion: "Sum".into(),
            concepts: vec![("dog".into(), 0.1, "digest".into())],
            sampler: "digest".into(),
            seed,
        }
    }

    #[test]
    fn another_fusion_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = FusionFolder::new(parent.path().join("fusion"));
        folder.open(&record(0)).unwrap();
        folder.open(&record(0)).unwrap();
        let error = folder.open(&record(1)).unwrap_err().to_string();
        assert!(error.contains("other concepts or with other settings"), "{error}");
        folder.remove().unwrap();
        folder.remove().unwrap();
        folder.open(&record(1)).unwrap();
    }
}
