//! The autoencoder: encoder and decoder.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_core::model::{LatentCodec, LatentPosterior};
use seqlora_kernels::{DualOps, KernelBackend};

use super::blocks::{EPSILON, MidBlock, VaeLevel};
use super::config::VaeConfig;
use crate::nn::{Conv2d, Conv2dConfig, GroupNorm};

/// The variational autoencoder between images and latents.
#[derive(Module, Debug)]
pub struct Vae<B: Backend> {
    encoder: Encoder<B>,
    quant_conv: Conv2d<B>,
    post_quant_conv: Conv2d<B>,
    decoder: Decoder<B>,
    latent_channels: usize,
    downscale: usize,
    scaling_factor: f64,
}

#[derive(Module, Debug)]
struct Encoder<B: Backend> {
    conv_in: Conv2d<B>,
    down_blocks: Vec<VaeLevel<B>>,
    mid_block: MidBlock<B>,
    conv_norm_out: GroupNorm<B>,
    conv_out: Conv2d<B>,
}

#[derive(Module, Debug)]
struct Decoder<B: Backend> {
    conv_in: Conv2d<B>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<VaeLevel<B>>,
    conv_norm_out: GroupNorm<B>,
    conv_out: Conv2d<B>,
}

impl VaeConfig {
    /// An autoencoder without weights.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> Vae<B> {
        let levels = self.block_out_channels.len();
        let (fine, coarse) = (self.block_out_channels[0], self.block_out_channels[levels - 1]);
        let latents = self.latent_channels;
        let conv3 = |inputs, outputs| Conv2dConfig::same3(inputs, outputs).init(device);
        let norm = |channels| GroupNorm::new(self.norm_num_groups, channels, EPSILON, device);
        Vae {
            encoder: Encoder {
                conv_in: conv3(self.in_channels, fine),
                down_blocks: (0..levels).map(|i| VaeLevel::down(self, i, device)).collect(),
                mid_block: MidBlock::new(self, device),
                conv_norm_out: norm(coarse),
                conv_out: conv3(coarse, 2 * latents),
            },
            quant_conv: Conv2dConfig::new(2 * latents, 2 * latents, 1).init(device),
            post_quant_conv: Conv2dConfig::new(latents, latents, 1).init(device),
            decoder: Decoder {
                conv_in: conv3(latents, coarse),
                mid_block: MidBlock::new(self, device),
                up_blocks: (0..levels).rev().map(|i| VaeLevel::up(self, i, device)).collect(),
                conv_norm_out: norm(fine),
                conv_out: conv3(fine, self.out_channels),
            },
            latent_channels: latents,
            downscale: self.downscale(),
            scaling_factor: self.scaling_factor,
        }
    }
}

impl<B: Backend> Vae<B> {
    /// The device of its weights.
    pub fn device(&self) -> B::Device {
        self.quant_conv.weight.lazy_device()
    }
}

impl<B: KernelBackend> LatentCodec<B> for Vae<B> {
    fn encode_image(&self, pixels: Tensor<B, 4>) -> LatentPosterior<B> {
        let Encoder { conv_in, down_blocks, mid_block, conv_norm_out, conv_out } = &self.encoder;
        let none = DualAdapters::none();
        let x = conv_in.forward(Dual::constant(pixels), &none);
        let x = down_blocks.iter().fold(x, |x, level| level.forward(x));
        let x = conv_out.forward(conv_norm_out.forward(mid_block.forward(x)).silu(), &none);
        let moments = self.quant_conv.forward(x, &none).primal;
        let half = self.latent_channels;
        let mean = moments.clone().narrow(1, 0, half);
        // Diffusers clamps the log-variance to this range.
        let log_variance = moments.narrow(1, half, half).clamp(-30.0, 20.0);
        let std = log_variance.mul_scalar(0.5).exp();
        LatentPosterior {
            mean: mean.mul_scalar(self.scaling_factor),
            std: std.mul_scalar(self.scaling_factor),
        }
    }

    fn decode_latents(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        let Decoder { conv_in, mid_block, up_blocks, conv_norm_out, conv_out } = &self.decoder;
        let none = DualAdapters::none();
        let latents = Dual::constant(latents.div_scalar(self.scaling_factor));
        let x = conv_in.forward(self.post_quant_conv.forward(latents, &none), &none);
        let x = mid_block.forward(x);
        let x = up_blocks.iter().fold(x, |x, level| level.forward(x));
        conv_out.forward(conv_norm_out.forward(x).silu(), &none).primal
    }

    fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    fn downscale(&self) -> usize {
        self.downscale
    }
}
