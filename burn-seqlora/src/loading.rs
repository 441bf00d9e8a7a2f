//! Opening a base model, and telling which one it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seqlora_core::bank::BaseModel;
use seqlora_core::lora::PatchSet;
use seqlora_core::model::{Denoiser, DiffusionModel, TextEncoder};
use seqlora_core::pipeline::SamplingSettings;
use seqlora_core::precision::Precision;
use seqlora_files::printable;
use seqlora_kernels::KernelBackend;
use seqlora_models::weights::ModelError;
use seqlora_models::{
    MergedFiles, ModelSource, SourceOptions, StableDiffusion, StableDiffusionConfig,
};
#[cfg(feature = "toy-world")]
use seqlora_toy_world::{builtin, pretrain};

/// How a base model is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The precision of UNet and text encoder; the VAE always computes in f32.
    pub precision: Precision,
    /// The tokenizer and the prediction, where the model's files do not tell.
    pub source: SourceOptions,
    /// The model's name as recorded in banks; by default the last part of its path.
    pub name: Option<String>,
}

/// A loaded base model, with the record by which banks recognise it.
#[derive(Debug)]
pub struct Model<B: KernelBackend> {
    /// The model; its weights are frozen.
    pub model: StableDiffusion<B>,
    /// Its name and a fingerprint of its weights. A bank belongs to one base model.
    pub base: BaseModel,
    /// The guidance of prompts that do not set one: 7.5, or 3 for the built-in model, whose card
    /// (`models/toy-world/builtin/README.md`) compares several.
    pub guidance: f64,
}

/// Why a base model cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is nothing at the path.
    #[error(
        "there is no {}: a model is a folder in diffusers' layout or a .safetensors or .ckpt file{BUILTIN_HINT}",
        path.display()
    )]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The device does not support the precision.
    #[error("the device cannot compute in {precision}; choose another precision")]
    Precision {
        /// The precision that was asked for.
        precision: Precision,
    },
    /// The model's files are damaged or not understood.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The built-in model is not where it is looked for, or damaged.
    #[cfg(feature = "toy-world")]
    #[error(transparent)]
    Builtin(#[from] builtin::BuiltinError),
}

#[cfg(feature = "toy-world")]
const BUILTIN_HINT: &str = ", or `builtin`";
#[cfg(not(feature = "toy-world"))]
const BUILTIN_HINT: &str = "";

impl<B: KernelBackend> Model<B> {
    /// Loads a model in f32 on the backend's default device.
    ///
    /// `model` is a folder in diffusers' layout, a single `.safetensors` or `.ckpt` file in the original one, or
    /// `builtin`: the small model of the toy world (64 × 64 pixels, with the feature `toy-world`). A
    /// folder of that name is `./builtin`.
    ///
    /// # Errors
    /// If there is no such model, or anything in it is missing, damaged or does not fit.
    pub fn load(model: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::load_with(model, &LoadOptions::default(), &B::Device::default())
    }

    /// Loads a model as the options say.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), or if the device cannot compute in the precision.
    pub fn load_with(
        model: impl AsRef<Path>,
        options: &LoadOptions,
        device: &B::Device,
    ) -> Result<Self, LoadError> {
        FoundModel::open(model, &options.source, options.name.clone())?
            .load(options.precision, device)
    }
}

/// A base model whose files have been found and whose configs have been checked; its weights are not
/// loaded yet.
#[derive(Debug, Clone)]
pub struct FoundModel {
    source: ModelSource,
    name: String,
    guidance: f64,
}

impl FoundModel {
    /// Finds a model's files; [`Model::load`] says what `model` is. `name` is what banks call it, by
    /// default the last part of its path.
    ///
    /// # Errors
    /// If there is no such model, or its configs are missing, damaged or do not fit each other.
    pub fn open(
        model: impl AsRef<Path>,
        options: &SourceOptions,
        name: Option<String>,
    ) -> Result<Self, LoadError> {
        let Place { path, guidance } = Place::of(model.as_ref())?;
        if !path.exists() {
            return Err(LoadError::Missing { path });
        }
        let last = || path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
        // Banks refuse names with characters that steer a terminal.
        let name = printable(&name.unwrap_or_else(last)).replace(['\n', '\t'], " ");
        Ok(Self { source: ModelSource::open(&path, options)?, name, guidance })
    }

    /// The configs of its parts.
    pub fn config(&self) -> &StableDiffusionConfig {
        &self.source.config
    }

    /// What banks call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fingerprint of its weights, all of which are read, but not loaded.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, LoadError> {
        Ok(self.source.fingerprint()?)
    }

    /// The bytes that its weights take when they are loaded, by the headers of their files.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn weight_bytes(&self, precision: Precision) -> Result<usize, LoadError> {
        Ok(self.source.weight_bytes(precision)?)
    }

    /// Writes the model with changed weights into a folder in diffusers' layout, which must not be there.
    ///
    /// # Errors
    /// If the model is a single file, a change fits no layer, or a file cannot be read or written.
    pub fn write_merged_folder(
        &self,
        changes: &PatchSet,
        to: &Path,
    ) -> Result<MergedFiles, LoadError> {
        Ok(self.source.write_merged_folder(changes, to)?)
    }

    /// The files that [`write_merged_folder`](Self::write_merged_folder) writes, by their paths in the folder.
    ///
    /// # Errors
    /// If the model is a single file, or its folder cannot be read.
    pub fn merged_names(&self) -> Result<BTreeSet<PathBuf>, LoadError> {
        Ok(self.source.merged_names()?)
    }

    /// Writes the model with changed weights to a single file in the original layout.
    ///
    /// # Errors
    /// If the model is a folder of Stable Diffusion 2, a change fits no layer, or a file cannot be read or
    /// written.
    pub fn write_merged_file(
        &self,
        changes: &PatchSet,
        to: &Path,
    ) -> Result<MergedFiles, LoadError> {
        Ok(self.source.write_merged_file(changes, to)?)
    }

    /// Writes the config next to a single file of this model that has been written, unless the file is read as the same
    /// model without. Returns whether it was written.
    ///
    /// # Errors
    /// If the file cannot be read, or the config cannot be written.
    pub fn write_sidecar(&self, file: &Path, sidecar: &Path) -> Result<bool, LoadError> {
        Ok(self.source.write_sidecar(file, sidecar)?)
    }

    /// Writes its tokenizer into a folder, unless it is there already.
    ///
    /// # Errors
    /// If the folder holds anything but this tokenizer, or a file cannot be read or written.
    pub fn write_tokenizer(&self, folder: &Path) -> Result<(), LoadError> {
        Ok(self.source.write_tokenizer(folder)?)
    }

    /// Loads the weights, and reads all of them for the fingerprint.
    ///
    /// # Errors
    /// If a weight is missing, damaged or does not fit, or the device cannot compute in the precision.
    pub fn load<B: KernelBackend>(
        &self,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Model<B>, LoadError> {
        if !B::supports_dtype(device, precision.dtype().into()) {
            return Err(LoadError::Precision { precision });
        }
        let model = StableDiffusion::<B>::from_source(&self.source, precision, device)?;
        let base = BaseModel {
            fingerprint: self.source.fingerprint()?,
            tokenizer: Some(model.tokenizer_digest().into()),
            prediction: Some(model.noise_schedule().prediction),
            name: self.name.clone(),
            cross_attention_layers: model.cross_attention_layers(),
            token_width: model.token_width(),
        };
        Ok(Model { model, base, guidance: self.guidance })
    }
}

/// Where a model lies.
struct Place {
    path: PathBuf,
    guidance: f64,
}

impl Place {
    fn of(model: &Path) -> Result<Self, LoadError> {
        #[cfg(feature = "toy-world")]
        if model == Path::new(builtin::NAME) {
            return Ok(Self { path: builtin::folder()?, guidance: pretrain::GUIDANCE });
        }
        Ok(Self { path: model.into(), guidance: SamplingSettings::default().guidance })
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    #[test]
    fn a_model_that_is_not_there_is_named_with_what_would_do() {
        let error = Model::<Flex>::load("no/such/model").unwrap_err().to_string();
        assert!(error.contains("no/such/model") && error.contains(".safetensors"), "{error}");
        #[cfg(feature = "toy-world")]
        assert!(error.contains("`builtin`"), "{error}");
    }
}
