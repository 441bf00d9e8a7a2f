//! How much memory training takes, before it starts.

use burn_seqlora::adapter::Site;
use burn_seqlora::config::TrainConfig;
use burn_seqlora::diff::Hvp;
use burn_seqlora::model::LatentCodec as _;
use seqlora_kernels::KernelBackend;

use crate::StableDiffusion;

/// Bytes of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The frozen model.
    pub weights: usize,
    /// A, B, their optimisers and gradients.
    pub trainable: usize,
    /// What a backward pass remembers.
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

/// Estimates a run on images of `side` pixels.
///
/// Activations are counted as remembered tensors per pixel and channel of each level; the two
/// factors are fitted to the one peak measured so far, SD1.5 at 256 pixels (README, "Measured").
pub fn training_estimate<B: KernelBackend>(
    model: &StableDiffusion<B>,
    train: &TrainConfig,
    side: usize,
    adapter_parameters: usize,
) -> MemoryEstimate {
    let config = model.config();
    let unet = &config.unet;
    let side = side / model.downscale();
    let blocks = 2 * unet.layers_per_block + 1;
    let level = |(level, channels): (usize, &usize)| {
        let pixels = (side >> level).pow(2);
        let scores = if unet.down_block_types[level].starts_with("Cross") {
            unet.heads(level) * pixels * (pixels + config.text_encoder.max_position_embeddings)
        } else {
            0
        };
        blocks * (TENSORS_PER_BLOCK * pixels * channels + SCORE_TENSORS * scores)
    };
    let floats: usize = unet.block_out_channels.iter().enumerate().map(level).sum();
    // The second-order pass remembers the tangents as well.
    let passes = if train.effective_hvp() == Hvp::Exact { 2 } else { 1 };
    MemoryEstimate {
        weights: model.weight_bytes(),
        // A, B, two moments of each, and the gradients, adjoints and steps in flight.
        trainable: 4 * 8 * adapter_parameters,
        activations: train.precision.bytes() * passes * train.batch * floats,
    }
}

/// Tensors of a level's size that one residual and transformer block leaves on the tape.
const TENSORS_PER_BLOCK: usize = 90;

/// Attention matrices that one transformer block leaves on the tape.
const SCORE_TENSORS: usize = 6;
