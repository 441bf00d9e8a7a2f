//! The folder of a pretraining: the model as far as it is trained, and the states of its parts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn_store::ModuleSnapshot;
use seqlora_core::error::Error;
use seqlora_core::lora::{Part as SitePart, SiteRegistry};
use seqlora_core::rng::Seed;
use seqlora_files::{FileError, FolderLock, write_json};
use seqlora_kernels::{KernelBackend, TrainBackend};
use serde_json::json;

use super::config::PretrainConfig;
use super::denoising::TextToLatents;
use super::design::blueprint;
use super::guard::{copy_file, copy_folder, lock};
use super::initial::initialised;
use super::spatial_labels::SpatialHead;
use seqlora_models::StableDiffusionConfig;
use seqlora_models::clip::ClipTextModel;
use seqlora_models::nn::Scope;
use seqlora_models::tokenizer::ClipTokenizer;
use seqlora_models::weights::{
    KeyTable, ModelError, Stored, WeightFiles, load_weights, read_config, save_weights,
};

/// The file name of the weights of the UNet and of the VAE.
pub(super) const DIFFUSION_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// The file name of the model card, in the model's folder.
pub(super) const CARD: &str = "training.json";

/// The file that records which model's weights a training started from.
const SOURCE: &str = "from.json";

/// A pretraining in a folder, with the model in `model/` and the states of its parts in
/// `training/`.
#[derive(Debug, Clone)]
pub struct Pretraining {
    /// The settings.
    pub config: PretrainConfig,
    /// The architecture. The scaling factor of the VAE is 1 until it is measured.
    pub(super) design: StableDiffusionConfig,
    /// Whether parts start from the weights in the model's folder.
    pub(super) fine_tuned: bool,
    pub(super) folder: PathBuf,
    _lock: Arc<FolderLock>,
}

/// An error in pretraining.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A file of a model cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A training failed, or a setting is invalid.
    #[error(transparent)]
    Training(#[from] Error),
}

impl From<FileError> for PretrainError {
    fn from(error: FileError) -> Self {
        Self::Training(error.into())
    }
}

impl Pretraining {
    /// Opens a folder and writes the configurations and the tokenizer of the model. Weights that
    /// are there already stay. Parts start from them only if the training was started by
    /// [`open_from`](Self::open_from).
    ///
    /// # Errors
    /// If the folder cannot be written, something in it is a link, or another process trains in it.
    pub fn open(folder: &Path, config: PretrainConfig) -> Result<Self, PretrainError> {
        Self::locked(folder, config, lock(folder)?)
    }

    fn locked(
        folder: &Path,
        config: PretrainConfig,
        lock: FolderLock,
    ) -> Result<Self, PretrainError> {
        let path = folder.join("model");
        let vae = path.join("vae/config.json");
        let mut blueprint = blueprint();
        if vae.exists() {
            // Its scaling factor is a measured value.
            let text = read_config(&vae)?;
            blueprint.vae = serde_json::from_str(&text).map_err(|e| ModelError::config(&vae, e))?;
        }
        let design = blueprint.write(&path)?;
        let fine_tuned = Self::has_source(folder);
        Ok(Self { config, folder: folder.into(), design, fine_tuned, _lock: Arc::new(lock) })
    }

    /// Opens a folder with a copy of another model's weights, from which each part starts, and of
    /// its card and training curves.
    ///
    /// # Errors
    /// If `from` has no weights, the folder cannot be written, something in it is a link, or another
    /// process trains in it.
    pub fn open_from(
        folder: &Path,
        config: PretrainConfig,
        from: &Path,
    ) -> Result<Self, PretrainError> {
        let parts = ["vae", "text_encoder", "unet", "classifier"];
        let there = parts.into_iter().filter(|part| from.join(part).is_dir());
        let there: Vec<&str> = there.collect();
        if there.is_empty() {
            let error = std::io::Error::other("it holds no part of a model");
            return Err(ModelError::io(from)(error).into());
        }
        let lock = lock(folder)?;
        let model = folder.join("model");
        for part in there {
            copy_folder(&from.join(part), &model.join(part))?;
        }
        if from.join(CARD).exists() {
            copy_folder(&from.join("curves"), &model.join("curves"))?;
            copy_file(&from.join(CARD), &model.join(CARD))?;
        }
        write_json(&folder.join(SOURCE), &json!({ "from": from }))?;
        Self::locked(folder, config, lock)
    }

    /// Whether the training in a folder was started by [`open_from`](Self::open_from).
    pub fn has_source(folder: &Path) -> bool {
        folder.join(SOURCE).exists()
    }

    /// A part with the weights that its training starts from: random ones, or those in the model's
    /// folder.
    pub(super) fn initial<B: TrainBackend, M: Module<B> + ModuleSnapshot<B>>(
        &self,
        module: M,
        (part, table): (&str, KeyTable),
        seed: &Seed,
        device: &B::Device,
    ) -> Result<M, ModelError> {
        let module = initialised(module, &seed.fork("weights"), device);
        if self.fine_tuned { self.stored(module, part, table) } else { Ok(module) }
    }

    pub(super) fn stored<B: KernelBackend, M: ModuleSnapshot<B>>(
        &self,
        module: M,
        part: &str,
        table: KeyTable,
    ) -> Result<M, ModelError> {
        load_weights(module, &WeightFiles::find(&self.model().join(part))?, &table.into())
    }

    /// The error of a missing part, which must be trained first.
    pub(super) fn missing(&self, part: &str) -> PretrainError {
        let folder = self.folder.display();
        let text = format!("{folder} has no {part} yet; train that part first");
        Error::Invalid(text).into()
    }

    /// Whether the training of a part (`autoencoder`, `text-encoder`, `denoiser` or `classifier`)
    /// has been started in a folder.
    pub fn has_begun(folder: &Path, part: &str) -> bool {
        folder.join("training").join(part).exists()
    }

    /// The folder of the model, in the layout of diffusers.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    pub(super) fn training(&self, part: &str) -> PathBuf {
        self.folder.join("training").join(part)
    }

    pub(super) fn seed(&self, part: &str) -> Seed {
        Seed::new(self.config.seed).fork(part)
    }

    pub(super) fn tokenizer(&self) -> Result<ClipTokenizer, ModelError> {
        let tokenizer = ClipTokenizer::from_folder(self.model().join("tokenizer"))?;
        Ok(tokenizer.with_context_length(self.design.text_encoder.max_position_embeddings))
    }

    /// Writes the weights of the UNet and the text encoder to the model's folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_denoiser<B: TrainBackend>(
        &self,
        model: &TextToLatents<B>,
    ) -> Result<(), PretrainError> {
        let file = self.model().join("unet").join(DIFFUSION_WEIGHTS);
        save_weights(&model.unet, KeyTable::UNET, Stored::F16, &file)?;
        Ok(self.save_text_encoder(&model.text_encoder)?)
    }

    pub(super) fn save_text_encoder<B: TrainBackend>(
        &self,
        text_encoder: &ClipTextModel<B>,
    ) -> Result<(), ModelError> {
        let file = self.model().join("text_encoder/model.safetensors");
        save_weights(text_encoder, KeyTable::CLIP_TEXT, Stored::F16, &file)
    }

    pub(super) fn stored_text_encoder<B: KernelBackend>(
        &self,
        text_encoder: ClipTextModel<B>,
    ) -> Result<ClipTextModel<B>, ModelError> {
        self.stored(text_encoder, "text_encoder", KeyTable::CLIP_TEXT)
    }

    pub(super) fn stored_denoiser<B: KernelBackend>(
        &self,
        device: &B::Device,
    ) -> Result<TextToLatents<B>, PretrainError> {
        let TextToLatents { unet, text_encoder, places } = self.denoiser::<B>(device);
        Ok(TextToLatents {
            unet: self.stored(unet, "unet", KeyTable::UNET)?,
            text_encoder: self.stored_text_encoder(text_encoder)?,
            places,
        })
    }

    pub(super) fn denoiser<B: KernelBackend>(&self, device: &B::Device) -> TextToLatents<B> {
        let mut sites = SiteRegistry::default();
        let mut scope = Scope::root("unet", SitePart::Denoiser, device, &mut sites);
        let unet = self.design.unet.init(&mut scope);
        let mut scope = Scope::root("text_encoder", SitePart::TextEncoder, device, &mut sites);
        let text_encoder = self.design.text_encoder.init(&mut scope);
        let places = SpatialHead::new(self.design.unet.middle_width(), device);
        TextToLatents { unet, text_encoder, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_by_one_training() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Pretraining::open(folder.path(), PretrainConfig::default());
        let first = open().unwrap();
        let error = open().unwrap_err();
        assert!(
            matches!(error, PretrainError::Training(Error::File(FileError::Locked { .. }))),
            "{error}"
        );
        drop(first);
        open().unwrap();
    }
}
