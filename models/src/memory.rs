//! An estimate of the memory that training takes.

use seqlora_core::Error;
use seqlora_core::lora::Site;
use seqlora_core::methods::Work;
use seqlora_core::model::{DiffusionModel as _, LatentCodec as _};
use seqlora_core::settings::Memory;
use seqlora_core::train::ConceptPlan;
use seqlora_kernels::KernelBackend;
use serde::Serialize;

use crate::StableDiffusion;
use crate::unet::{COARSE, UNetConfig};

/// The memory of a training run in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// The frozen model.
    pub weights: u64,
    /// A and B with their gradients and optimiser states.
    pub trainable: u64,
    /// What forward passes keep for the backward passes, with what inner steps cache.
    pub activations: u64,
    /// The largest image and the VAE's activations while it is encoded. Images are encoded one by one, and
    /// between the passes of training.
    pub encoding: u64,
}

impl MemoryEstimate {
    /// The most at any time.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.beside_the_model())
    }

    /// The same without the weights.
    pub fn beside_the_model(&self) -> u64 {
        self.trainable.saturating_add(self.activations.max(self.encoding))
    }

    /// Checks that training fits into so many bytes, of a machine that has the model loaded already.
    ///
    /// # Errors
    /// [`Error::TooLittleMemory`].
    pub fn check(&self, available: u64) -> Result<(), Error> {
        match self.beside_the_model() {
            needed if needed > available => Err(Error::TooLittleMemory { needed, available }),
            _ => Ok(()),
        }
    }
}

/// The number of parameters in A and B if site i has rank `ranks[i]`.
pub fn adapter_parameters(sites: &[Site], ranks: &[usize]) -> usize {
    sites.iter().zip(ranks).map(|(site, rank)| rank * (site.inputs + site.outputs)).sum()
}

/// Estimates the memory of training a concept on images of `side` pixels per side, if each minibatch takes
/// the given work.
///
/// The activations are counted as a number of tensors of each UNet level's size. Attention keeps no
/// score matrices, except for its regularisation, which computes the probabilities of cross-attention a
/// second time and keeps them. The two numbers are fitted to SD1.5 at 256 pixels on the CPU, which takes 5.9 GB for
/// a gradient, 7.2 GB for a Hessian product, and 9.1 GB for an iteration that caches the activations of
/// two inner steps (README, "Measured"). Latents are on disk, but for one minibatch.
pub fn training_estimate<B: KernelBackend>(
    model: &StableDiffusion<B>,
    concept: &ConceptPlan,
    work: Work,
    side: usize,
) -> MemoryEstimate {
    let ConceptPlan { config: train, capacity, largest_image, .. } = concept;
    let config = model.config();
    let unet = &config.unet;
    let latents = side / model.downscale();
    let blocks = 2 * unet.layers_per_block + 1;
    let level = |(level, channels): (usize, &usize)| blocks * (latents >> level).pow(2) * channels;
    let levels = || unet.block_out_channels.iter().enumerate();
    let tensor: usize = levels().map(level).sum();
    // A Hessian product keeps the tangents as well.
    let passes = if work.hessian_products > 0 { 2 } else { 1 };
    let numbers = match train.memory {
        Memory::Fast => {
            (TENSORS_PER_BLOCK * passes + CACHED_PER_BLOCK * work.cached).saturating_mul(tensor)
        }
        // The largest block and those of coarse levels, and what is kept of all.
        Memory::Low => {
            let block = latents.pow(2) * unet.block_out_channels.first().copied().unwrap_or(0);
            let coarse: usize = levels().skip(COARSE).map(level).sum();
            (TENSORS_PER_BLOCK * passes)
                .saturating_mul(block.saturating_add(coarse))
                .saturating_add((KEPT_PER_BLOCK * passes).saturating_mul(tensor))
        }
    };
    let images = train.images_at_once();
    let losses = if train.prior_weight > 0.0 { 2 } else { 1 };
    let length = config.text_encoder.max_position_embeddings;
    let probabilities = probabilities(unet, latents, length);
    let pixels = side.pow(2) as u64;
    let finest = config.vae.block_out_channels.first().copied().unwrap_or(0);
    // Sizes are within the limits of settings, but their products may not fit 64 bits.
    let product = |factors: &[usize]| {
        factors.iter().fold(1_u64, |product, factor| product.saturating_mul(*factor as u64))
    };
    MemoryEstimate {
        weights: model.weight_bytes() as u64,
        // Eight f32 numbers per parameter: the parameter, its two moments, and the gradients, adjoints
        // and steps of one iteration.
        trainable: 4 * 8 * adapter_parameters(model.sites(), &capacity.ranks) as u64,
        // The loss that keeps the class is a second pass on the same tape.
        activations: product(&[train.precision.bytes(), images * losses, numbers]).saturating_add(
            match train.attention() {
                Some(_) => product(&[4, images, MAPS[passes - 1], probabilities]),
                None => 0,
            },
        ),
        encoding: pixels * (4 * ENCODER_TENSORS * finest as u64 + EXAMPLE)
            + DECODED * *largest_image as u64,
    }
}

/// The probabilities of all cross-attention layers for one image with prompts of this length: heads × places ×
/// length of each.
fn probabilities(unet: &UNetConfig, latents: usize, length: usize) -> usize {
    let levels = unet.block_out_channels.len();
    let attends = |kind: Option<&String>| kind.is_some_and(|kind| kind.starts_with("CrossAttn"));
    let of_level = |level: usize| {
        let down =
            if attends(unet.down_block_types.get(level)) { unet.layers_per_block } else { 0 };
        let up = unet.up_block_types.iter().rev().nth(level);
        let up = if attends(up) { unet.layers_per_block + 1 } else { 0 };
        let middle = usize::from(level + 1 == levels);
        let layers = (down + up + middle) * unet.transformer_layers_per_block.at(level);
        layers * unet.heads(level) * (latents >> level).pow(2) * length
    };
    (0..levels).map(of_level).sum()
}

/// The number of such matrices that the tape keeps in f32 for a gradient: the exponentials, in two operations;
/// and with tangents, for which the probabilities, the tangents of the scores and those without their mean are
/// kept as well.
const MAPS: [usize; 2] = [2, 5];

/// The number of tensors of a level's size that a residual block and its transformer keep on the tape.
const TENSORS_PER_BLOCK: usize = 130;

/// What low memory keeps of each block: the residual block's, and what goes into the transformer and comes out, with a gradient.
const KEPT_PER_BLOCK: usize = 13;

/// The number of these tensors that an inner step caches for its Hessian product
/// (docs/decisions/0008).
const CACHED_PER_BLOCK: usize = 80;

/// The number of tensors of the finest level's size that the VAE holds at once.
const ENCODER_TENSORS: u64 = 8;

/// Bytes per pixel of an example: three f32, twice.
const EXAMPLE: u64 = 24;

/// Bytes per pixel of a decoded image in two colour types, and of its mask.
const DECODED: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// SD1.5 at 512 pixels: 5 layers of 8 heads at 64 × 64, 32 × 32 and 16 × 16 places, and one at 8 × 8.
    #[test]
    fn probabilities_are_counted_layer_by_layer() {
        let places = 5 * (64 * 64 + 32 * 32 + 16 * 16) + 8 * 8;
        assert_eq!(probabilities(&UNetConfig::default(), 64, 77), 8 * 77 * places);
    }
}
