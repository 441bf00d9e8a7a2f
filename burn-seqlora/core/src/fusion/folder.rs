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

use seqlora_files::{Disk, Storage, read_json, refuse_link, to_json, write_new};
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

/// The folders of a stage.
const INPUTS: &str = "inputs";
const LAYERS: &str = "layers";

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
        // What is left of an interrupted removal must not be taken for the work of another fusion: its record goes last.
        Stage::ALL.iter().try_for_each(|stage| remove_all(&self.stage(*stage)))?;
        remove_all(&self.path)
    }

    /// Takes the folder for a fusion.
    ///
    /// # Errors
    /// If it holds another fusion or cannot be written.
    pub(super) fn open(&self, record: &FusionRecord) -> Result<()> {
        let path = self.path.display();
        let file = self.path.join("fusion.json");
        let begun = Stage::ALL.iter().any(|stage| self.stage(*stage).exists());
        if begun && !file.exists() {
            let text =
                format!("{path} lacks fusion.json, which tells what is fused; remove the folder");
            return Err(Error::Invalid(text));
        }
        create(&self.path)?;
        let taken = write_new(&file, &to_json(&file, record)?)?;
        if !taken && read_json::<FusionRecord>(&file)? != *record {
            return Err(Error::Invalid(format!(
                "{path} holds the beginning of a fusion of other concepts or with other settings; remove it to \
                 begin anew"
            )));
        }
        for stage in Stage::ALL {
            let stage = self.stage(stage);
            [&stage, &stage.join(INPUTS), &stage.join(LAYERS)]
                .into_iter()
                .try_for_each(|f| create(f))?;
        }
        Ok(())
    }

    fn stage(&self, stage: Stage) -> PathBuf {
        self.path.join(stage.name())
    }

    /// The statistics of a stage.
    pub(super) fn statistics(&self, stage: Stage) -> StatisticsFolder {
        StatisticsFolder::new(self.stage(stage).join(INPUTS))
    }

    /// Removes the statistics of a stage.
    pub(super) fn remove_statistics(&self, stage: Stage) -> Result<()> {
        remove_all(&self.stage(stage).join(INPUTS))
    }

    /// Whether a layer is fused.
    pub(super) fn has_layer(&self, stage: Stage, site: &Site) -> bool {
        self.layer(stage, &site.name).is_file()
    }

    /// Keeps the patch of a layer.
    pub(super) fn keep_layer(&self, stage: Stage, site: &str, patch: WeightPatch) -> Result<()> {
        write_patches(&self.layer(stage, site), &PatchSet([(site.to_string(), patch)].into()))
    }

    /// Adds the patch of a layer that is fused to others.
    pub(super) fn read_layer(&self, stage: Stage, site: &Site, to: &mut PatchSet) -> Result<()> {
        let patches = read_patches(&self.layer(stage, &site.name), std::slice::from_ref(site))?;
        to.0.extend(patches.0);
        Ok(())
    }

    fn layer(&self, stage: Stage, site: &str) -> PathBuf {
        self.stage(stage).join(LAYERS).join(format!("{site}.safetensors"))
    }
}

/// Creates a folder in one that is there. What lies there already may be a folder, but no link to one.
fn create(folder: &Path) -> Result<()> {
    refuse_link(folder)?;
    Ok(Disk.create_folder(folder)?)
}

/// Removes a folder with all that is in it. Others may do the same, or write there, at the same time.
fn remove_all(folder: &Path) -> Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match fs::remove_dir_all(folder) {
        Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty) => {
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
        fs::remove_file(folder.path().join("fusion.json")).unwrap();
        let error = folder.open(&record(1)).unwrap_err().to_string();
        assert!(error.contains("fusion.json"), "{error}");
        folder.remove().unwrap();
        folder.remove().unwrap();
        folder.open(&record(1)).unwrap();
    }
}
