//! What sampling takes.

use burn_seqlora::models::StableDiffusionConfig;

use crate::commands::memory;
use crate::failure::Failure;

/// Tensors of the size of the UNet's finest level that are alive at once, per image and per half of
/// classifier-free guidance. The built-in model, which has no transformer at that level, takes 12.
const UNET_TENSORS: usize = 30;

/// Tensors with the channels of the VAE's second level at the image's size that decoding holds at once:
/// the built-in model takes 4.4 at 1024 × 1024 pixels, where a run has 590 MB more than at 64 × 64.
const VAE_TENSORS: usize = 5;

/// What is sampled.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Images at once.
    pub batch: usize,
    /// `[1, channels, height, width]` of one image.
    pub latents: [usize; 4],
    /// Latents that are read or kept for a file.
    pub kept: usize,
}

/// The bytes that sampling takes besides the weights.
pub fn estimate(config: &StableDiffusionConfig, sampling: Sampling) -> usize {
    let Sampling { batch, latents: [_, channels, height, width], kept } = sampling;
    let first = |channels: &[usize], at: usize| channels.get(at).or(channels.last()).copied();
    let unet = first(&config.unet.block_out_channels, 0).unwrap_or(0);
    let vae = first(&config.vae.block_out_channels, 1).unwrap_or(0);
    let product =
        |factors: &[usize]| factors.iter().fold(size_of::<f32>(), |a, b| a.saturating_mul(*b));
    let denoising = product(&[2, batch, UNET_TENSORS, unet, height, width]);
    let scale = config.vae.downscale();
    // Images are decoded one by one.
    let decoding = product(&[VAE_TENSORS, vae, height * scale, width * scale]);
    denoising.max(decoding).saturating_add(product(&[kept, channels, height, width]))
}

/// Refuses what cannot fit into the memory of this machine.
///
/// # Errors
/// Says how much is needed and how much there is.
pub fn check(config: &StableDiffusionConfig, sampling: Sampling) -> Result<(), Failure> {
    memory::check(
        estimate(config, sampling),
        "besides the model's weights, these images need",
        "take a smaller --size or --batch, or fewer images with --latents or --save-latents",
    )
}
