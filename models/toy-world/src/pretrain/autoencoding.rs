//! Training of the VAE on images of random scenes.

use std::ops::Range;

use burn::tensor::module::avg_pool2d;
use burn::tensor::{ElementConversion, Tensor};
use rand::RngExt;
use seqlora_core::error::Result;
use seqlora_core::model::{LatentCodec as _, LatentPosterior};
use seqlora_core::rng::{Seed, normal};
use seqlora_kernels::{KernelBackend, TrainBackend};

use super::config::PretrainConfig;
use super::train::Task;
use crate::pixels::to_pixels;
use crate::world::{Individual, Scene, SceneOptions, Split};
use seqlora_models::vae::Vae;

/// The task of reconstructing images of random scenes. With the error e = D(z) − x, its differences ∂e of
/// neighbouring pixels, and average pooling over 2 × 2 as ↓, the loss is
///
/// ```text
/// mean |e| + mean e² + edge_weight · mean |∂e|
///          + equivariance_weight · mean |D(z↓) − x↓|
///          + kl_weight · mean KL(q(z|x) ‖ N(0, 1))
/// ```
///
/// The differences sharpen edges. The equivariance makes the decoder equivariant to scale. Without it latents have high-frequency
/// components that images do not have and that a denoiser learns slowly (Skorokhodov et al. 2025,
/// arXiv 2502.14831).
#[derive(Debug)]
pub struct Autoencoding<'a> {
    /// Probabilities of scenes and weights of the loss.
    pub config: &'a PretrainConfig,
    /// Width and height of the images, in pixels.
    pub side: usize,
    /// The seed of scenes and of the latents' noise.
    pub seed: Seed,
}

impl Autoencoding<'_> {
    /// The scene of an index: an individual, or random objects of either split. The VAE may see
    /// held-out combinations, since it does not depend on captions.
    pub fn scene(&self, index: u64) -> Scene {
        let mut rng = self.seed.fork("kind").at(index);
        if rng.random_bool(self.config.individual_probability) {
            let individual = Individual::of(rng.random_range(0..Individual::COUNT));
            let seed = self.seed.fork("individual").fork(&index.to_string());
            return individual.references(&seed, 1).remove(0);
        }
        let split = if rng.random_bool(0.2) { Split::HeldOut } else { Split::Train };
        let options = SceneOptions { split, pair_probability: self.config.pair_probability };
        Scene::random(&self.seed, index, &options)
    }

    /// The images of scenes: `[scenes, 3, side, side]`.
    fn pixels<B: KernelBackend>(&self, samples: Range<u64>, device: &B::Device) -> Tensor<B, 4> {
        let scenes: Vec<Scene> = samples.map(|index| self.scene(index)).collect();
        to_pixels(&scenes, self.side, device)
    }
}

impl<B: TrainBackend> Task<B> for Autoencoding<'_> {
    type Module = Vae<B>;

    fn loss(&self, vae: &Vae<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let device = vae.device();
        let mut rng = self.seed.fork("latents").at(samples.start);
        let pixels = self.pixels::<B>(samples, &device);
        let LatentPosterior { mean, std } = vae.encode_image(pixels.clone());
        let noise = normal(mean.dims(), &mut rng, &device);
        let latents = mean.clone() + std.clone() * noise;
        let error = |z: Tensor<B, 4>, x: Tensor<B, 4>| vae.decode_latents(z) - x;
        let mut loss = reconstruction(error(latents.clone(), pixels.clone()), self.config);
        if self.config.equivariance_weight > 0.0 {
            let small = error(halved(latents), halved(pixels)).abs().mean();
            loss = loss + small.mul_scalar(self.config.equivariance_weight);
        }
        let variance = std.powi_scalar(2);
        // Twice the KL divergence of each element.
        let divergence = mean.powi_scalar(2) + variance.clone() - variance.log().add_scalar(1.0);
        Ok(loss + divergence.mean().mul_scalar(self.config.kl_weight / 2.0))
    }
}

/// The loss of a reconstruction error `[batch, 3, side, side]`, without equivariance and divergence.
fn reconstruction<B: KernelBackend>(error: Tensor<B, 4>, config: &PretrainConfig) -> Tensor<B, 1> {
    let differences = |dim: usize| {
        let length = error.dims()[dim] - 1;
        let shifted = error.clone().narrow(dim, 1, length) - error.clone().narrow(dim, 0, length);
        shifted.abs().mean()
    };
    let edges = (differences(2) + differences(3)).mul_scalar(config.edge_weight / 2.0);
    error.clone().abs().mean() + error.powi_scalar(2).mean() + edges
}

/// Average pooling over 2 × 2.
fn halved<B: KernelBackend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    avg_pool2d(x, [2, 2], [2, 2], [0, 0], true, false)
}

/// The reconstruction quality of a VAE and the scale of its latents.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Fidelity {
    /// Peak signal-to-noise ratio of reconstructions, in dB, averaged over images.
    pub psnr: f64,
    /// Root mean square of the latents; its inverse becomes the `scaling_factor`.
    pub latent_std: f64,
}

/// Images that are measured at a time.
const PER_BATCH: u64 = 16;

impl Autoencoding<'_> {
    /// Measures a VAE whose scaling factor is 1, on `batches` batches of 16 images that training
    /// does not see.
    pub fn fidelity<B: KernelBackend>(&self, vae: &Vae<B>, batches: usize) -> Fidelity {
        let device = vae.device();
        let (mut psnr, mut square) = (0.0, 0.0);
        for batch in 0..batches as u64 {
            // Training numbers its samples from 0 and does not reach this range.
            let first = u64::MAX / 2 + batch * PER_BATCH;
            let pixels = self.pixels::<B>(first..first + PER_BATCH, &device);
            let LatentPosterior { mean, std } = vae.encode_image(pixels.clone());
            let energy: f64 =
                (mean.clone().powi_scalar(2) + std.powi_scalar(2)).mean().into_scalar().elem();
            let decoded = vae.decode_latents(mean).clamp(-1.0, 1.0);
            let errors = (decoded - pixels).powi_scalar(2).mean_dims(&[1, 2, 3]).to_data();
            let ratios = errors.iter::<f64>().map(|e| 10.0 * (4.0 / e).log10());
            psnr += ratios.sum::<f64>() / PER_BATCH as f64;
            square += energy;
        }
        Fidelity { psnr: psnr / batches as f64, latent_std: (square / batches as f64).sqrt() }
    }
}
