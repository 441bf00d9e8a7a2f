//! The configs of a model's parts, which are read and checked together.

use std::path::Path;

use seqlora_core::diffusion::{NoiseSchedule, SchedulerConfig};
use seqlora_core::lora::{Part, Site, SiteRegistry};
use seqlora_core::pipeline::ImageSizes;
use seqlora_kernels::KernelBackend;

use crate::clip::{ClipTextConfig, ClipTextModel};
use crate::nn::Scope;
use crate::unet::{UNet, UNetConfig};
use crate::vae::{Vae, VaeConfig};
use crate::weights::{ModelError, read_config};

/// The configs of a model's parts.
#[derive(Debug, Clone)]
pub struct StableDiffusionConfig {
    /// `unet/config.json`
    pub unet: UNetConfig,
    /// `text_encoder/config.json`
    pub text_encoder: ClipTextConfig,
    /// `vae/config.json`
    pub vae: VaeConfig,
    /// `scheduler/scheduler_config.json`, as diffusers' `StableDiffusionPipeline` uses it.
    pub scheduler: SchedulerConfig,
    /// Sentences for the user: what is used instead of what the files say, and what is taken for what
    /// they do not say.
    pub notes: Vec<String>,
}

impl StableDiffusionConfig {
    /// Reads the configs of a diffusers folder.
    ///
    /// # Errors
    /// If a config is missing or damaged, if it needs something that is not implemented, or if two
    /// configs contradict each other.
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
            texts.push(read_config(file)?);
        }
        Self::parse(std::array::from_fn(|i| (&texts[i][..], files[i].as_path())))
    }

    /// Parses the configs of the UNet, the text encoder, the VAE and the scheduler, each with the path
    /// that error messages name.
    pub(crate) fn parse(configs: [(&str, &Path); 4]) -> Result<Self, ModelError> {
        let [unet, clip, vae, scheduler] = configs;
        let schedule = |source| ModelError::Schedule { path: scheduler.1.into(), source };
        let given = SchedulerConfig::from_json(scheduler.0).map_err(schedule)?;
        let (used, notes) = given.in_pipeline();
        NoiseSchedule::new(&used).map_err(schedule)?;
        let config = Self {
            unet: UNetConfig::parse(unet.0, unet.1)?,
            text_encoder: ClipTextConfig::parse(clip.0, clip.1)?,
            vae: VaeConfig::parse(vae.0, vae.1)?,
            scheduler: used,
            notes: notes
                .into_iter()
                .map(|note| format!("{}: {note}", scheduler.1.display()))
                .collect(),
        };
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

    /// The sizes of the images that the model can make.
    pub fn image_sizes(&self) -> ImageSizes {
        let scale = self.vae.downscale();
        ImageSizes {
            side: self.unet.sample_size * scale,
            // Every level of the UNet but the last halves the size.
            unit: scale << (self.unet.block_out_channels.len() - 1),
            scale,
            channels: self.vae.latent_channels,
        }
    }

    /// The modules without weights, and the sites of the UNet and the text encoder.
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
