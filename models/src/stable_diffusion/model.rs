//! The loaded model: UNet, text encoder, VAE, tokenizer and noise schedule.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::bank::Matrix;
use seqlora_core::diffusion::{Conditioning, NoiseSchedule, SchedulerConfig};
use seqlora_core::error::{Error, Result};
use seqlora_core::lora::{DualAdapters, Site};
use seqlora_core::model::{Denoiser, DiffusionModel, LatentCodec, LatentPosterior, TextEncoder};
use seqlora_core::precision::Precision;
use seqlora_core::text::{Piece, TextBatch, Tokens};
use seqlora_kernels::KernelBackend;

use super::config::StableDiffusionConfig;
use super::source::{ModelSource, SourceOptions};
use crate::clip::ClipTextModel;
use crate::tokenizer::ClipTokenizer;
use crate::unet::UNet;
use crate::vae::Vae;
use crate::weights::ModelError;

/// Stable Diffusion 1.x or 2.x with frozen weights.
///
/// Images are `[batch, 3, height, width]` in [-1, 1], latents `[batch, 4, height / 8, width / 8]`.
#[derive(Debug)]
pub struct StableDiffusion<B: Backend> {
    pub(super) unet: UNet<B>,
    pub(super) text_encoder: ClipTextModel<B>,
    pub(super) vae: Vae<B>,
    pub(super) tokenizer: ClipTokenizer,
    pub(super) schedule: NoiseSchedule,
    pub(super) config: StableDiffusionConfig,
    pub(super) sites: Vec<Site>,
    pub(super) precision: Precision,
    pub(super) device: B::Device,
}

impl<B: KernelBackend> StableDiffusion<B> {
    /// Loads a diffusers folder in f32.
    ///
    /// # Errors
    /// If a file in the folder is missing or damaged, or does not fit its config.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let source = ModelSource::open(folder, &SourceOptions::default())?;
        Self::from_source(&source, Precision::F32, device)
    }

    /// Loads a model from a folder or a file. The weights of the UNet and the text encoder are stored
    /// in `precision`, those of the VAE in f32.
    ///
    /// # Errors
    /// If a file is missing or damaged, or does not fit its config.
    pub fn from_source(
        source: &ModelSource,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let config = &source.config;
        let tokenizer = source.tokenizer()?;
        let (unet, text_encoder, vae, sites) = config.init(device);
        // Everything is compared with the configs before the first weight is read.
        let unet_weights = source.unet.check(&unet)?;
        let text_weights = source.text_encoder.check(&text_encoder)?;
        let vae_weights = source.vae.check(&vae)?;
        let schedule = NoiseSchedule::new(&config.scheduler)
            .map_err(|source| ModelError::Schedule { path: "scheduler".into(), source })?;
        Ok(Self {
            unet: unet_weights.fill(unet, precision)?,
            text_encoder: text_weights.fill(text_encoder, precision)?,
            vae: vae_weights.fill(vae, Precision::F32)?,
            tokenizer,
            schedule,
            config: config.clone(),
            sites,
            precision,
            device: device.clone(),
        })
    }

    /// The digest of its tokenizer, see [`ClipTokenizer::digest`].
    pub fn tokenizer_digest(&self) -> &str {
        self.tokenizer.digest()
    }

    /// The tokens of a text as a reader sees them, see [`ClipTokenizer::pieces`].
    pub fn token_pieces(&self, text: &str) -> Vec<String> {
        self.tokenizer.pieces(text)
    }

    /// The embeddings of a text's tokens `[tokens, width]`, row by row: what a concept has to begin with
    /// that another tool calls by this text.
    ///
    /// # Errors
    /// If it has no tokens.
    pub fn token_embeddings(&self, text: &str) -> Result<Matrix> {
        let ids = self.tokenizer.encode(text);
        if ids.is_empty() {
            return Err(Error::Prompt(format!("`{text}` has no tokens")));
        }
        let tokens = self.text_encoder.embed(&ids).cast(FloatDType::F32);
        Ok((tokens.dims(), tokens.into_data().iter::<f32>().collect()))
    }

    /// The size of all weights in bytes.
    pub fn weight_bytes(&self) -> usize {
        let adapted = self.unet.num_params() + self.text_encoder.num_params();
        self.precision.bytes() * adapted + Precision::F32.bytes() * self.vae.num_params()
    }

    /// The configs of its parts.
    pub fn config(&self) -> &StableDiffusionConfig {
        &self.config
    }
}

impl<B: KernelBackend> Denoiser<B> for StableDiffusion<B> {
    fn predict(
        &self,
        noisy: Dual<B, 4>,
        timesteps: Tensor<B, 1>,
        conditioning: &Conditioning<B>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4> {
        let dtype = self.precision.dtype();
        let (noisy, adapters) = (noisy.cast(dtype), adapters.cast(dtype));
        self.unet.predict(noisy, timesteps, conditioning, &adapters).cast(FloatDType::F32)
    }

    fn prepare(
        &self,
        conditioning: Conditioning<B>,
        adapters: &DualAdapters<B>,
    ) -> Conditioning<B> {
        self.unet.prepare(conditioning, &adapters.cast(self.precision.dtype()))
    }

    fn cross_attention_layers(&self) -> usize {
        self.unet.cross_attention_layers()
    }
}

impl<B: KernelBackend> TextEncoder<B> for StableDiffusion<B> {
    fn encode_text_until(
        &self,
        batch: &TextBatch<B>,
        embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
        layers: usize,
    ) -> Conditioning<B> {
        let dtype = self.precision.dtype();
        let embeddings = embeddings.map(|embeddings| embeddings.clone().cast(dtype));
        let adapters = adapters.cast(dtype);
        self.text_encoder.encode_until(batch, embeddings.as_ref(), &adapters, layers).into()
    }

    fn text_layers(&self) -> usize {
        self.text_encoder.layers()
    }

    fn token_ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text)
    }

    fn tokenize(&self, pieces: &[Piece]) -> Result<Tokens> {
        self.tokenizer.assemble(pieces).map_err(|e| Error::Prompt(e.to_string()))
    }

    fn word_embedding(&self, word: &str) -> Result<Tensor<B, 1>> {
        let ids = self.tokenizer.encode(word);
        if ids.is_empty() {
            return Err(Error::Prompt(format!("the class word `{word}` has no tokens")));
        }
        let tokens = self.text_encoder.embed(&ids).cast(FloatDType::F32);
        Ok(tokens.mean_dim(0).squeeze_dim::<1>(0))
    }

    fn token_width(&self) -> usize {
        self.text_encoder.width()
    }
}

impl<B: KernelBackend> LatentCodec<B> for StableDiffusion<B> {
    fn encode_image(&self, pixels: Tensor<B, 4>) -> LatentPosterior<B> {
        self.vae.encode_image(pixels)
    }

    fn decode_latents(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        self.vae.decode_latents(latents)
    }

    fn latent_channels(&self) -> usize {
        self.vae.latent_channels()
    }

    fn downscale(&self) -> usize {
        self.vae.downscale()
    }
}

impl<B: KernelBackend> DiffusionModel<B> for StableDiffusion<B> {
    fn sites(&self) -> &[Site] {
        &self.sites
    }

    fn site_weight(&self, site: usize) -> Tensor<B, 2> {
        let mut linears = self.unet.linears().chain(self.text_encoder.linears());
        let linear = linears.find(|linear| linear.site == Some(site));
        linear.unwrap_or_else(|| panic!("there is no site {site}")).weight.val()
    }

    fn noise_schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    fn scheduler(&self) -> &SchedulerConfig {
        &self.config.scheduler
    }

    fn resolution(&self) -> usize {
        self.config.image_sizes().side
    }

    fn size_unit(&self) -> usize {
        self.config.image_sizes().unit
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }
}
