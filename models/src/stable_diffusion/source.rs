//! The files of a model: a diffusers folder, or a single file.

use std::path::{Path, PathBuf};

use seqlora_core::diffusion::Prediction;
use seqlora_core::precision::Precision;

use super::component::ComponentFiles;
use super::config::StableDiffusionConfig;
use super::other_vae::other_vae;
use super::sidecar::{Sidecar, with_sidecar};
use super::single_file::{name, single_file_config};
use crate::tokenizer::ClipTokenizer;
use crate::weights::{
    Header, KeyLayout, KeyTable, ModelError, Variant, WeightFiles, fingerprint, ldm,
};

/// A model that has been found and whose configs have been checked, but whose weights are not loaded.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The configs of its parts.
    pub config: StableDiffusionConfig,
    /// The folder, if it is one.
    pub(super) folder: Option<PathBuf>,
    pub(super) tokenizer: PathBuf,
    pub(crate) unet: ComponentFiles,
    pub(crate) text_encoder: ComponentFiles,
    pub(crate) vae: ComponentFiles,
    /// The model's own VAE, if another one is used.
    pub(super) replaced_vae: Option<ComponentFiles>,
}

/// What the user specifies about a model. It overrides what the model's files say.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// The tokenizer's folder. Default: `tokenizer` in the model's folder, or next to its file.
    pub tokenizer: Option<PathBuf>,
    /// What the UNet predicts.
    pub prediction: Option<Prediction>,
    /// Which weights are used where a folder has several copies of them.
    pub variant: Variant,
    /// Another VAE in place of the model's own: a folder in diffusers' layout, or a file with diffusers' or the
    /// original names of keys, of the same sizes. Concepts do not depend on it.
    pub vae: Option<PathBuf>,
}

impl ModelSource {
    /// Finds the parts of a model: a diffusers folder, or a single file in the original layout.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the model needs something that is not implemented.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let mut source =
            if path.is_file() { Self::file(path, options) } else { Self::folder(path, options) }?;
        if let Some(path) = &options.vae {
            let (config, vae) = other_vae(path, options.variant, &source.config.vae)?;
            source.config.vae = config;
            source.replaced_vae = Some(std::mem::replace(&mut source.vae, vae));
        }
        Ok(source)
    }

    fn folder(folder: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let mut config = StableDiffusionConfig::read(folder)?;
        if let Some(prediction) = options.prediction {
            config.scheduler.prediction_type = Some(name(prediction));
        }
        let files = |component: &str, table: KeyTable| -> Result<ComponentFiles, ModelError> {
            let files = WeightFiles::find_variant(&folder.join(component), options.variant)?;
            Ok(ComponentFiles { files, layout: table.into() })
        };
        Ok(Self {
            config,
            folder: Some(folder.into()),
            unet: files("unet", KeyTable::UNET)?,
            text_encoder: files("text_encoder", KeyTable::CLIP_TEXT)?,
            vae: files("vae", KeyTable::VAE)?,
            replaced_vae: None,
            tokenizer: options.tokenizer.clone().unwrap_or(folder.join("tokenizer")),
        })
    }

    fn file(file: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let header = Header::read(file)?;
        // Errors are in the file, or in the config next to it.
        let (sidecar, place) = (Sidecar::of(file)?, with_sidecar(file));
        let (config, family) = single_file_config(&header, sidecar, options.prediction, &place)?;
        let layers = config.text_encoder.num_hidden_layers;
        let component = |renaming, table| {
            ComponentFiles::in_file(file, KeyLayout::single_file(renaming, table))
        };
        Ok(Self {
            folder: None,
            unet: component(ldm::unet(&config.unet), KeyTable::UNET),
            text_encoder: component(ldm::text_encoder(family, layers), KeyTable::CLIP_TEXT),
            vae: component(ldm::vae(&config.vae), KeyTable::VAE),
            replaced_vae: None,
            tokenizer: match &options.tokenizer {
                Some(folder) => folder.clone(),
                None => tokenizer_next_to(file)?,
            },
            config,
        })
    }

    /// Reads its tokenizer, for the length of its text encoder's context.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a token has an id for which there is no embedding.
    pub fn tokenizer(&self) -> Result<ClipTokenizer, ModelError> {
        let tokenizer = ClipTokenizer::from_folder(&self.tokenizer)?;
        let (id, token) = tokenizer.highest();
        let embeddings = self.config.text_encoder.vocab_size;
        if id as usize >= embeddings {
            let (tokenizer, token) = (self.tokenizer.clone(), token.to_string());
            return Err(ModelError::Vocabulary { tokenizer, token, id, embeddings });
        }
        Ok(tokenizer.with_context_length(self.config.text_encoder.max_position_embeddings))
    }

    /// A digest of the model's own weight files: 32 hexadecimal digits. The same weights in other files
    /// have another digest.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, ModelError> {
        let vae = self.replaced_vae.as_ref().unwrap_or(&self.vae);
        let parts = [&self.text_encoder, &self.unet, vae];
        let mut files: Vec<PathBuf> =
            parts.iter().flat_map(|part| part.files.shards.iter().cloned()).collect();
        files.dedup();
        fingerprint(&files)
    }

    /// The bytes of the loaded weights, by the headers of their files. The VAE computes in f32.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn weight_bytes(&self, precision: Precision) -> Result<usize, ModelError> {
        let numbers = self.unet.numbers()?.saturating_add(self.text_encoder.numbers()?);
        let vae = self.vae.numbers()?.saturating_mul(Precision::F32.bytes());
        Ok(numbers.saturating_mul(precision.bytes()).saturating_add(vae))
    }
}

fn tokenizer_next_to(file: &Path) -> Result<PathBuf, ModelError> {
    let folder = file.with_file_name("tokenizer");
    if folder.is_dir() { Ok(folder) } else { Err(ModelError::NoTokenizer { folder }) }
}
