//! An estimate of the memory that training takes.

use seqlora_core::lora::Site;
use seqlora_core::methods::Work;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::settings::TrainConfig;
use seqlora_kernels::KernelBackend;

use crate::StableDiffusion;

/// The memory of a training run in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The frozen model.
    pub weights: usize,
    /// A and B with their gradients and optimiser states.
    pub trainable: usize,
    /// What forward passes keep for the backward passes.
    pub activations: usize,
}

impl MemoryEstimate {
    /// The sum of all parts.
    pub fn total(&self) -> usize {
        self.weights + self.trainable + self.activations
    }
}

/// The number of parameters in A and B if site i has rank `ranks[i]`.
pub fn adapter_parameters(sites: &[Site], ranks: &[usize]) -> usize {
    sites.iter().zip(ranks).map(|(site, rank)| rank * (site.inputs + site.outputs)).sum()
}

/// Estimates the memory of training on images of `side` pixels per side, if each minibatch takes the
/// given work.
///
/// The activations are counted as a number of tensors of each UNet level's size. Attention keeps no
/// score matrices. The two numbers are fitted to SD1.5 at 256 pixels on the CPU, which takes 5.9 GB for
/// a gradient, 7.2 GB for a Hessian product, and 9.1 GB for an iteration that caches the activations of
/// two inner steps (README, "Measured").
pub fn training_estimate<B: KernelBackend>(
    model: &StableDiffusion<B>,
    train: &TrainConfig,
    work: Work,
    side: usize,
    adapter_parameters: usize,
) -> MemoryEstimate {
    let config = model.config();
    let unet = &config.unet;
    let side = side / model.downscale();
    let blocks = 2 * unet.layers_per_block + 1;
    let level = |(level, channels): (usize, &usize)| blocks * (side >> level).pow(2) * channels;
    let tensor: usize = unet.block_out_channels.iter().enumerate().map(level).sum();
    // A Hessian product keeps the tangents as well.
    let passes = if work.hessian_products > 0 { 2 } else { 1 };
    let tensors = TENSORS_PER_BLOCK * passes + CACHED_PER_BLOCK * work.cached;
    MemoryEstimate {
        weights: model.weight_bytes(),
        // Eight f32 numbers per parameter: the parameter, its two moments, and the gradients, adjoints
        // and steps of one iteration.
        trainable: 4 * 8 * adapter_parameters,
        activations: train.precision.bytes() * train.batch * tensors * tensor,
    }
}

/// The number of tensors of a level's size that a residual block and its transformer keep on the tape.
const TENSORS_PER_BLOCK: usize = 130;

/// The number of these tensors that an inner step caches for its Hessian product
/// (docs/decisions/0008).
const CACHED_PER_BLOCK: usize = 80;
