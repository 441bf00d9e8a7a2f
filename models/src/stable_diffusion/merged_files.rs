//! A model with changed layers as files that other tools load: a diffusers folder, or a single file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use seqlora_core::lora::PatchSet;
use seqlora_files::{parse_object, read_text, write_json};
use serde_json::{Map, Value, json};

use super::ModelSource;
use super::component::ComponentFiles;
use crate::weights::ldm;
use crate::weights::{
    COMPONENTS, Changes, Header, KeyLayout, KeyTable, ModelError, Rewriting, Rewritten, rewrite,
};

/// What was written, compared with what it should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergedFiles {
    /// The layers whose weights changed.
    pub layers: usize,
    /// The largest relative error of a layer's change, ‖W' − W − ΔW‖ / ‖ΔW‖: the rounding of the type that the
    /// weights are stored in, which stays what it was.
    pub error: f64,
}

/// Sub-folders without weights.
const WITHOUT_WEIGHTS: [&str; 3] = ["scheduler", "tokenizer", "feature_extractor"];

/// The largest of their files that is copied. Vocabularies have 1 to 4 MB.
const COPIED: u64 = 64 << 20;

/// The list of a folder's parts.
const INDEX: &str = "model_index.json";

impl ModelSource {
    /// Writes the model with W + ΔW in the place of W into a folder in diffusers' layout, under the names that its
    /// files have. What is no part of Stable Diffusion, such as a safety checker, is left out.
    ///
    /// # Errors
    /// If the model or another VAE is a single file, a change fits no layer, or a file cannot be read or written.
    pub fn write_merged_folder(
        &self,
        changes: &PatchSet,
        to: &Path,
    ) -> Result<MergedFiles, ModelError> {
        let from = self.merged_from()?;
        for name in WITHOUT_WEIGHTS {
            copy_files(&from.join(name), &to.join(name))?;
        }
        let mut written = Vec::new();
        for (name, component) in self.components() {
            let to = to.join(name);
            copy_files(&component.files.folder, &to)?;
            let changes = of_component(changes, name, component);
            for shard in &component.files.shards {
                let header = Rc::new(Header::read(shard)?);
                let layouts = [(&component.layout, &changes)];
                let tensors =
                    header.tensors().keys().map(|key| Rewritten::new(&header, key, &layouts));
                let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
                let file = to.join(shard.file_name().expect("a file has a name"));
                written.push(rewrite(&tensors, header.metadata(), &file)?);
            }
        }
        write_index(from, to)?;
        self.merged(changes, &written)
    }

    /// The files that [`write_merged_folder`](Self::write_merged_folder) writes, by their paths in the folder.
    ///
    /// # Errors
    /// If the model or another VAE is a single file, or a folder cannot be read.
    pub fn merged_names(&self) -> Result<BTreeSet<PathBuf>, ModelError> {
        fn inside(part: &str, file: &Path) -> PathBuf {
            Path::new(part).join(file.file_name().expect("a file has a name"))
        }
        let from = self.merged_from()?;
        let mut names = BTreeSet::new();
        for part in WITHOUT_WEIGHTS {
            names.extend(copied(&from.join(part))?.iter().map(|file| inside(part, file)));
        }
        for (part, component) in self.components() {
            let files = copied(&component.files.folder)?;
            let files = files.iter().chain(&component.files.shards);
            names.extend(files.map(|file| inside(part, file)));
        }
        if from.join(INDEX).is_file() {
            names.insert(INDEX.into());
        }
        Ok(names)
    }

    /// The folder that a merged one is made from.
    fn merged_from(&self) -> Result<&Path, ModelError> {
        let Some(from) = &self.folder else {
            let reason = "it is a single file, and stays one where changes are merged";
            return Err(ModelError::config(&self.unet.files.folder, reason));
        };
        if self.vae.files.folder.is_file() {
            let reason = "a VAE in a file of its own is for images only; where it is to become part of a model's \
                          folder, give its diffusers folder";
            return Err(ModelError::config(&self.vae.files.folder, reason));
        }
        Ok(from)
    }

    /// Writes the model with W + ΔW in the place of W to a single file in the original layout. A folder is
    /// converted if it is Stable Diffusion 1.
    ///
    /// # Errors
    /// If the model is a folder of another family, a change fits no layer, or a file cannot be read or written.
    pub fn write_merged_file(
        &self,
        changes: &PatchSet,
        to: &Path,
    ) -> Result<MergedFiles, ModelError> {
        let of = self.components().map(|(name, c)| of_component(changes, name, c));
        let written = match &self.folder {
            None if self.replaced_vae.is_some() => {
                let reason = "the model is a single file, which keeps its own VAE";
                return Err(ModelError::config(&self.vae.files.folder, reason));
            }
            None => {
                let components = self.components();
                let layouts: Vec<(&KeyLayout, &Changes)> = components
                    .iter()
                    .zip(&of)
                    .map(|((_, c), changes)| (&c.layout, changes))
                    .collect();
                let header = Rc::new(Header::read(&self.unet.files.shards[0])?);
                let tensors =
                    header.tensors().keys().map(|key| Rewritten::new(&header, key, &layouts));
                rewrite(&tensors.collect::<Result<Vec<_>, _>>()?, header.metadata(), to)?
            }
            Some(folder) => {
                let mut tensors = Vec::new();
                let names = self.single_file_names(folder)?;
                for (((_, component), changes), names) in
                    self.components().iter().zip(&of).zip(&names)
                {
                    for shard in &component.files.shards {
                        let header = Rc::new(Header::read(shard)?);
                        for (key, info) in header.tensors() {
                            let Some(path) = component.layout.ours(key) else { continue };
                            let new = names.theirs(&path);
                            let shape = original_shape(&new, info.shape.clone());
                            let tensor =
                                Rewritten::new(&header, key, &[(&component.layout, changes)])?;
                            tensors.push(tensor.renamed(new, shape));
                        }
                    }
                }
                let prediction = self.config.scheduler.prediction_type.as_deref();
                let prediction = if prediction == Some("v_prediction") { "v" } else { "epsilon" };
                let metadata = [("modelspec.prediction_type", prediction), ("format", "pt")];
                let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
                rewrite(&tensors, &BTreeMap::from(metadata), to)?
            }
        };
        self.merged(changes, &[written])
    }

    fn components(&self) -> [(&'static str, &ComponentFiles); 3] {
        let [unet, text_encoder, vae] = COMPONENTS;
        [(unet, &self.unet), (text_encoder, &self.text_encoder), (vae, &self.vae)]
    }

    /// How a folder's parameters are named in a single file.
    fn single_file_names(&self, folder: &Path) -> Result<[KeyLayout; 3], ModelError> {
        let text = &self.config.text_encoder;
        // Stable Diffusion 2 has OpenCLIP's encoder there, whose layers are stored in other tensors.
        if text.hidden_act != crate::weights::Activation::QuickGelu {
            let reason = "only Stable Diffusion 1 is converted to a single file";
            return Err(ModelError::config(&folder.join("text_encoder"), reason));
        }
        Ok([
            KeyLayout::single_file(ldm::unet(&self.config.unet), KeyTable::UNET),
            KeyLayout::single_file(ldm::written_text_encoder(), KeyTable::CLIP_TEXT),
            KeyLayout::single_file(ldm::vae(&self.config.vae), KeyTable::VAE),
        ])
    }

    /// # Errors
    /// If a change was added nowhere.
    fn merged(&self, changes: &PatchSet, written: &[Rewriting]) -> Result<MergedFiles, ModelError> {
        let Rewriting { changes: layers, error } = Rewriting::of_all(written);
        if layers != changes.0.len() {
            let count = changes.0.len();
            let reason = format!("{layers} of {count} changes belong to layers of this model");
            return Err(ModelError::config(&self.unet.files.folder, reason));
        }
        Ok(MergedFiles { layers, error })
    }
}

/// The changes of a component, whose sites have diffusers' names behind the component's.
fn of_component<'a>(changes: &'a PatchSet, name: &str, component: &ComponentFiles) -> Changes<'a> {
    let table = component.layout.table();
    let sites = changes.0.iter().filter_map(|(site, patch)| {
        let module = site.strip_prefix(name)?.strip_prefix('.')?;
        Some((table.ours(&format!("{module}.weight"))?, patch))
    });
    sites.collect()
}

/// The projections of attention in the VAE are 1 × 1 convolutions in a single file.
fn original_shape(key: &str, mut shape: Vec<usize>) -> Vec<usize> {
    let is_projection = key.starts_with("first_stage_model.") && key.contains(".attn_1.");
    if is_projection && shape.len() == 2 {
        shape.extend([1, 1]);
    }
    shape
}

/// Copies the files of a folder that are [`copied`]; nothing if there is no such folder.
fn copy_files(from: &Path, to: &Path) -> Result<(), ModelError> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(ModelError::io(to))?;
    for path in copied(from)? {
        let name = path.file_name().expect("an entry has a name");
        fs::copy(&path, to.join(name)).map_err(ModelError::io(&path))?;
    }
    Ok(())
}

/// The small regular files of a folder, but no weights; none if there is no such folder.
fn copied(from: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let mut files = Vec::new();
    if !from.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(from).map_err(ModelError::io(from))? {
        let path = entry.map_err(ModelError::io(from))?.path();
        // Folders of a hub's cache hold links to files.
        let metadata = fs::metadata(&path).map_err(ModelError::io(&path))?;
        let weights = ["safetensors", "bin", "ckpt", "msgpack", "h5", "onnx"];
        let ending = path.extension().and_then(|ending| ending.to_str());
        let is_weights = ending.is_some_and(|ending| weights.contains(&ending));
        if metadata.is_file() && !is_weights && metadata.len() <= COPIED {
            files.push(path);
        }
    }
    Ok(files)
}

/// Writes the list of parts, without those that were left out.
fn write_index(from: &Path, to: &Path) -> Result<(), ModelError> {
    let file = from.join(INDEX);
    if !file.is_file() {
        return Ok(());
    }
    let text = read_text(&file)?;
    let mut index: Map<String, Value> =
        parse_object(&text).map_err(|reason| ModelError::config(&file, reason))?;
    for (name, part) in &mut index {
        if part.is_array() && !to.join(name).is_dir() {
            *part = json!([null, null]);
        }
    }
    Ok(write_json(&to.join(INDEX), &index)?)
}
