//! A whole model: UNet, text encoder, VAE, tokenizer, noise schedule.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::diffusion::{Conditioning, NoiseSchedule, SchedulerConfig};
use seqlora_core::error::{Error, Result};
use seqlora_core::lora::{DualAdapters, Part, Site, SiteRegistry};
use seqlora_core::model::{Denoiser, DiffusionModel, LatentCodec, LatentPosterior, TextEncoder};
use seqlora_core::precision::Precision;
use seqlora_core::text::{Piece, TextBatch, Tokens};
use seqlora_kernels::KernelBackend;

use crate::clip::{ClipTextConfig, ClipTextModel};
use crate::nn::Scope;
use crate::tokenizer::ClipTokenizer;
use crate::unet::{UNet, UNetConfig};
use crate::vae::{Vae, VaeConfig};
use crate::weights::{ModelError, load_weights, load_weights_as};
use crate::{ModelSource, SourceOptions};

/// The configs of a model folder.
#[derive(Debug, Clone)]
pub struct StableDiffusionConfig {
    /// `unet/config.json`
    pub unet: UNetConfig,
    /// `text_encoder/config.json`
    pub text_encoder: ClipTextConfig,
    /// `vae/config.json`
    pub vae: VaeConfig,
    /// `scheduler/scheduler_config.json`
    pub scheduler: SchedulerConfig,
}

/// Stable Diffusion 1.x or 2.x.
#[derive(Debug)]
pub struct StableDiffusion<B: Backend> {
    unet: UNet<B>,
    text_encoder: ClipTextModel<B>,
    vae: Vae<B>,
    tokenizer: ClipTokenizer,
    schedule: NoiseSchedule,
    config: StableDiffusionConfig,
    sites: Vec<Site>,
    precision: Precision,
    device: B::Device,
}

impl StableDiffusionConfig {
    /// Reads the configs of a diffusers folder.
    ///
    /// # Errors
    /// If one is missing, damaged, asks for something that is not implemented, or they do not fit
    /// each other.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let names = [
            "unet/config.json",
            "text_encoder/config.json",
            "vae/config.json",
            "scheduler/scheduler_config.json",
        ];
        let files = names.map(|name| folder.join(name));
        let mut texts = Vec::new();
        for file in &files {
            texts.push(std::fs::read_to_string(file).map_err(ModelError::io(file))?);
        }
        Self::parse(std::array::from_fn(|i| (&texts[i][..], files[i].as_path())))
    }

    /// Parses the texts of the configs of UNet, text encoder, VAE and scheduler; the paths are for
    /// messages.
    pub(crate) fn parse(configs: [(&str, &Path); 4]) -> Result<Self, ModelError> {
        let [unet, clip, vae, scheduler] = configs;
        let config = Self {
            unet: UNetConfig::parse(unet.0, unet.1)?,
            text_encoder: ClipTextConfig::parse(clip.0, clip.1)?,
            vae: VaeConfig::parse(vae.0, vae.1)?,
            scheduler: SchedulerConfig::from_json(scheduler.0)
                .map_err(|source| ModelError::Schedule { path: scheduler.1.into(), source })?,
        };
        NoiseSchedule::new(&config.scheduler)
            .map_err(|source| ModelError::Schedule { path: scheduler.1.into(), source })?;
        let same = |key: &str, value: usize, other: &str, expected: usize| match value == expected {
            true => Ok(()),
            false => {
                let reason = format!("`{key}` is {value}, but {other} is {expected}");
                Err(ModelError::config(unet.1, reason))
            }
        };
        let (text, latents) = (config.text_encoder.hidden_size, config.vae.latent_channels);
        let width = config.unet.cross_attention_dim;
        same("cross_attention_dim", width, "the text encoder's `hidden_size`", text)?;
        for (key, channels) in
            [("in_channels", config.unet.in_channels), ("out_channels", config.unet.out_channels)]
        {
            same(key, channels, "the VAE's `latent_channels`", latents)?;
        }
        Ok(config)
    }

    /// The modules without weights yet, and their sites.
    pub fn init<B: KernelBackend>(
        &self,
        device: &B::Device,
    ) -> (UNet<B>, ClipTextModel<B>, Vae<B>, Vec<Site>) {
        let mut sites = SiteRegistry::default();
        let mut scope = Scope::root("unet", Part::Denoiser, device, &mut sites);
        let unet = self.unet.init(&mut scope);
        let mut scope = Scope::root("text_encoder", Part::TextEncoder, device, &mut sites);
        let text_encoder = self.text_encoder.init(&mut scope);
        (unet, text_encoder, self.vae.init(device), sites.into_sites())
    }
}

impl<B: KernelBackend> StableDiffusion<B> {
    /// Loads a diffusers folder in f32. All weights are frozen.
    ///
    /// # Errors
    /// If anything in the folder is missing, damaged or does not fit.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let source = ModelSource::open(folder, &SourceOptions::default())?;
        Self::from_source(&source, Precision::F32, device)
    }

    /// Loads a model from wherever it lies. All weights are frozen; those of UNet and text encoder
    /// are in `precision`, those of the VAE in f32.
    ///
    /// # Errors
    /// If anything is missing, damaged or does not fit.
    pub fn from_source(
        source: &ModelSource,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let config = &source.config;
        let (unet, text_encoder, vae, sites) = config.init(device);
        let [of_unet, of_text, of_vae] = [&source.unet, &source.text_encoder, &source.vae];
        let schedule = NoiseSchedule::new(&config.scheduler)
            .map_err(|source| ModelError::Schedule { path: "scheduler".into(), source })?;
        Ok(Self {
            unet: load_weights_as(unet, &of_unet.files, &of_unet.layout, precision)?,
            text_encoder: load_weights_as(
                text_encoder,
                &of_text.files,
                &of_text.layout,
                precision,
            )?,
            vae: load_weights(vae, &of_vae.files, &of_vae.layout)?,
            tokenizer: ClipTokenizer::from_folder(&source.tokenizer)?
                .with_context_length(config.text_encoder.max_position_embeddings),
            schedule,
            config: config.clone(),
            sites,
            precision,
            device: device.clone(),
        })
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> usize {
        let half = self.unet.num_params() + self.text_encoder.num_params();
        self.precision.bytes() * half + Precision::F32.bytes() * self.vae.num_params()
    }

    /// The configs it was built from.
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

    fn cross_attention_layers(&self) -> usize {
        self.unet.cross_attention_layers()
    }
}

impl<B: KernelBackend> TextEncoder<B> for StableDiffusion<B> {
    fn encode_text(
        &self,
        batch: &TextBatch<B>,
        embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
    ) -> Conditioning<B> {
        let dtype = self.precision.dtype();
        let embeddings = embeddings.map(|embeddings| embeddings.clone().cast(dtype));
        self.text_encoder.encode(batch, embeddings.as_ref(), &adapters.cast(dtype)).into()
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

    fn resolution(&self) -> usize {
        self.config.unet.sample_size * self.config.vae.downscale()
    }

    fn size_unit(&self) -> usize {
        // All levels but the last halve.
        self.vae.downscale() << (self.config.unet.block_out_channels.len() - 1)
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }
}
