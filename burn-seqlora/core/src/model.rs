//! What the method asks of a diffusion model, and nothing more.

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;

use crate::diffusion::{Conditioning, NoiseSchedule, SchedulerConfig};
use crate::error::Result;
use crate::lora::{DualAdapters, Site};
use crate::text::{Piece, TextBatch, Tokens};

/// Predicts the noise (or velocity) in noisy latents.
pub trait Denoiser<B: KernelBackend> {
    /// The network's output, `[batch, channels, height, width]` like its input.
    ///
    /// `timesteps` has one entry per image.
    fn predict(
        &self,
        noisy: Dual<B, 4>,
        timesteps: Tensor<B, 1>,
        conditioning: &Conditioning<B>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 4>;

    /// The same conditioning with what does not change from step to step computed beforehand, such as
    /// the keys and values of cross-attention. For inference: nothing may move afterwards.
    fn prepare(
        &self,
        conditioning: Conditioning<B>,
        _adapters: &DualAdapters<B>,
    ) -> Conditioning<B> {
        conditioning
    }

    /// The number of cross-attention layers, each of which may see its own context.
    fn cross_attention_layers(&self) -> usize;
}

/// Turns prompts into what the denoiser is conditioned on.
pub trait TextEncoder<B: KernelBackend> {
    /// Encodes every copy of every prompt; `embeddings` are those of the concepts' words,
    /// `[embeddings, width]`.
    fn encode_text(
        &self,
        batch: &TextBatch<B>,
        embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
    ) -> Conditioning<B> {
        self.encode_text_until(batch, embeddings, adapters, self.text_layers())
    }

    /// The same with the states after the first `layers` layers, to which the final normalisation is
    /// applied as to those of the last one.
    ///
    /// # Panics
    /// If there are fewer layers.
    fn encode_text_until(
        &self,
        batch: &TextBatch<B>,
        embeddings: Option<&Tensor<B, 2>>,
        adapters: &DualAdapters<B>,
        layers: usize,
    ) -> Conditioning<B>;

    /// The number of layers of the text encoder.
    fn text_layers(&self) -> usize;

    /// The tokens of a text of any length, without start, end and padding.
    fn token_ids(&self, text: &str) -> Vec<u32>;

    /// Token ids of a prompt, padded to the encoder's length.
    ///
    /// # Errors
    /// If a concept's word does not fit.
    fn tokenize(&self, pieces: &[Piece]) -> Result<Tokens>;

    /// The mean embedding of a class word's tokens, `[width]`.
    fn word_embedding(&self, word: &str) -> Result<Tensor<B, 1>>;

    /// The width of a token's embedding.
    fn token_width(&self) -> usize;
}

/// Mean and standard deviation of an image's latents, `[batch, channels, height, width]` each,
/// already in the denoiser's scale.
#[derive(Debug, Clone)]
pub struct LatentPosterior<B: Backend> {
    /// The mean.
    pub mean: Tensor<B, 4>,
    /// The standard deviation.
    pub std: Tensor<B, 4>,
}

/// Translates between pixels in [−1, 1] and latents in the denoiser's scale.
pub trait LatentCodec<B: KernelBackend> {
    /// `[batch, 3, height, width]` to latents.
    fn encode_image(&self, pixels: Tensor<B, 4>) -> LatentPosterior<B>;

    /// Latents to `[batch, 3, height, width]`, not clamped.
    fn decode_latents(&self, latents: Tensor<B, 4>) -> Tensor<B, 4>;

    /// The number of channels of the latents.
    fn latent_channels(&self) -> usize;

    /// How many pixels a latent covers in each direction (8 in Stable Diffusion).
    fn downscale(&self) -> usize;
}

/// A whole text-to-image diffusion model whose linear layers can carry adapters. Several threads may read its weights.
pub trait DiffusionModel<B: KernelBackend>:
    Denoiser<B> + TextEncoder<B> + LatentCodec<B> + Sync
{
    /// The linear layers that can carry an adapter, in the order of their numbers.
    fn sites(&self) -> &[Site];

    /// The frozen weight W₀ of a site, `[outputs, inputs]`, in the model's precision.
    ///
    /// # Panics
    /// If there is no site of this number.
    fn site_weight(&self, site: usize) -> Tensor<B, 2>;

    /// The noise that the model was trained with.
    fn noise_schedule(&self) -> &NoiseSchedule;

    /// The settings of the scheduler that comes with the model, by which samplers are laid out.
    fn scheduler(&self) -> &SchedulerConfig;

    /// The side of the images that the model was made for, in pixels.
    fn resolution(&self) -> usize;

    /// What the sides of images must be multiples of, in pixels: the VAE's scale, doubled for each
    /// time that the denoiser halves its grid.
    fn size_unit(&self) -> usize;

    /// Where the model's tensors are.
    fn device(&self) -> B::Device;
}
