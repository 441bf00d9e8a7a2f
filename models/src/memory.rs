//! How much memory training takes, before it starts.

use seqlora_core::lora::Site;
use seqlora_core::methods::Work;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::settings::TrainConfig;
use seqlora_kernels::KernelBackend;

use crate::StableDiffusion;

/// Bytes of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The frozen model.
    pub weights: usize,
    /// A, B, their optimisers and gradients.
    pub trainable: usize,
    /// What passes over the model leave for those after them.
    pub activations: usize,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.trainable + self.activations
    }
}

/// The number of parameters in A and B at these ranks.
pub fn adapter_parameters(sites: &[Site], ranks: &[usize]) -> usize {
    sites.iter().zip(ranks).map(|(site, rank)| rank * (site.inputs + site.outputs)).sum()
}

/// Estimates a run on images of `side` pixels whose minibatches take this work.
///
/// Activations are counted as tensors per pixel and channel of each level. Attention leaves no
/// matrices behind. The factors are fitted to SD1.5 at 256 pixels on the CPU: 5.9 GB for a gradient,
/// 7.2 GB for a Hessian product and 9.1 GB for an iteration that keeps two inner steps' numbers
/// (README, "Measured").
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
    // The second-order pass remembers the tangents as well.
    let passes = if work.hessian_products > 0 { 2 } else { 1 };
    let tensors = TENSORS_PER_BLOCK * passes + CACHED_PER_BLOCK * work.cached;
    MemoryEstimate {
        weights: model.weight_bytes(),
        // A, B, two moments of each, and the gradients, adjoints and steps in flight.
        trainable: 4 * 8 * adapter_parameters,
        activations: train.precision.bytes() * train.batch * tensors * tensor,
    }
}

/// Tensors of a level's size that one residual and transformer block leaves on the tape.
const TENSORS_PER_BLOCK: usize = 130;

/// Such tensors that an inner step caches of it for the Hessian product (docs/decisions/0008).
const CACHED_PER_BLOCK: usize = 80;
