//! Training UNet and text encoder together on latents of captioned scenes.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_jvp::Dual;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seqlora_core::diffusion::Conditioning;
use seqlora_core::diffusion::{Guidance, NoiseSchedule, SamplerPlan, noised, sample};
use seqlora_core::error::Result;
use seqlora_core::lora::DualAdapters;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::rng::{Seed, normal};
use seqlora_core::text::{TextBatch, Vocabulary};
use seqlora_kernels::{KernelBackend, TrainBackend};

use super::captions::{captioned, tokenize};
use super::config::PretrainConfig;
use super::judging::covered;
use super::parameters::rounded;
use super::places::PlaceReader;
use super::scenes::to_pixels;
use super::train::Stage;
use crate::world::{Scene, Truth};
use seqlora_models::clip::ClipTextModel;
use seqlora_models::tokenizer::ClipTokenizer;
use seqlora_models::unet::UNet;
use seqlora_models::vae::Vae;

/// What is trained together.
#[derive(Module, Debug)]
pub struct TextToLatents<B: Backend> {
    /// The denoiser.
    pub unet: UNet<B>,
    /// What makes of captions what the denoiser sees.
    pub text_encoder: ClipTextModel<B>,
    /// What the UNet's middle is to know, for training only.
    pub places: PlaceReader<B>,
}

/// The mean squared error of the prediction on random scenes, timesteps and noise, and what the
/// middle's features do not know of the scenes.
#[derive(Debug)]
pub struct Denoising<'a, B: TrainBackend> {
    /// Batch size and shares.
    pub config: &'a PretrainConfig,
    /// The trained autoencoder.
    pub vae: Vae<B::InnerBackend>,
    /// The tokenizer, with the text encoder's length.
    pub tokenizer: ClipTokenizer,
    /// The noise.
    pub schedule: NoiseSchedule,
    /// Side of the pictures.
    pub side: usize,
    /// Of scenes, captions, timesteps and noise.
    pub seed: Seed,
}

impl<B: TrainBackend> Denoising<'_, B> {
    fn prompts<T: KernelBackend>(
        &self,
        captions: &[String],
        device: &T::Device,
    ) -> Result<TextBatch<T>> {
        let tokens = tokenize(captions, &self.tokenizer)?;
        Ok(TextBatch::new(&tokens, &Vocabulary::default(), 1, device))
    }

    /// One timestep per picture, in random order.
    fn timesteps(&self, counter: u64, batch: usize) -> Vec<usize> {
        let mut rng = self.seed.fork("timesteps").at(counter);
        let count = self.schedule.num_train_timesteps();
        let mut timesteps = stratified(batch, count, self.config.timestep_power, &mut rng);
        timesteps.shuffle(&mut self.seed.fork("order").at(counter));
        timesteps
    }

    /// How much the error counts at each place of the latents, `[batch, 1, side, side]`.
    fn weights(&self, truths: &[Truth], device: &B::Device) -> Tensor<B, 4> {
        let side = self.side / self.vae.downscale();
        let covered = covered(truths, side, device).sum_dim(2);
        let weights = covered * (self.config.objects - 1.0) + 1.0;
        weights.reshape([truths.len(), 1, side, side])
    }

    /// Pictures for captions, `[captions, 3, side, side]`, by the averaged or any other network.
    ///
    /// # Errors
    /// If a caption cannot be tokenized.
    pub fn draw(
        &self,
        model: &TextToLatents<B::InnerBackend>,
        captions: &[String],
        Drawing { plan, guidance, seed }: &Drawing,
    ) -> Result<Tensor<B::InnerBackend, 4>> {
        let device = self.vae.device();
        let none = DualAdapters::none();
        let encode = |captions: &[String]| -> Result<Conditioning<B::InnerBackend>> {
            let prompts = self.prompts(captions, &device)?;
            Ok(model.text_encoder.encode(&prompts, None, &none).into())
        };
        let negative = encode(&vec![String::new(); captions.len()])?;
        let guidance = Guidance { prompt: encode(captions)?, negative, scale: *guidance };
        let side = self.side / self.vae.downscale();
        let shape = [captions.len(), self.vae.latent_channels(), side, side];
        let draw = |step: u64| normal(shape, &mut seed.at(step), &device);
        let fresh = |step| draw(1 + step as u64);
        let latents = sample(&model.unet, &none, &guidance, plan, draw(0), fresh, |_| true);
        Ok(self.vae.decode_latents(latents.expect("nothing stops the loop")))
    }
}

/// Timesteps below `count` whose density goes with their `power`: one from each of `batch` equally
/// likely ranges, in order.
fn stratified(batch: usize, count: usize, power: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let draw = |range: usize| {
        let share = (range as f64 + rng.random_range(0.0..1.0)) / batch as f64;
        ((share.powf(1.0 / (1.0 + power)) * count as f64) as usize).min(count - 1)
    };
    (0..batch).map(draw).collect()
}

/// How captions become pictures.
#[derive(Debug)]
pub struct Drawing {
    /// The sampler's steps.
    pub plan: SamplerPlan,
    /// Scale of classifier-free guidance.
    pub guidance: f64,
    /// Of the noise.
    pub seed: Seed,
}

impl<B: TrainBackend> Stage<B> for Denoising<'_, B> {
    type Module = TextToLatents<B>;

    fn loss(&self, model: &TextToLatents<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let first = samples.start;
        let device = self.vae.device();
        let captioned = samples.map(|index| captioned(self.config, &self.seed, index));
        let (scenes, captions): (Vec<Scene>, Vec<String>) = captioned.unzip();
        let posterior = self.vae.encode_image(to_pixels(&scenes, self.side, &device));
        let draw = |purpose| {
            normal::<B::InnerBackend, 4>(
                posterior.mean.dims(),
                &mut self.seed.fork(purpose).at(first),
                &device,
            )
        };
        let latents = posterior.mean.clone() + posterior.std.clone() * draw("latents");
        let timesteps = self.timesteps(first, scenes.len());
        let noised = noised(&self.schedule, latents, draw("noise"), &timesteps);
        let none = DualAdapters::none();
        let prompts = self.prompts(&captions, &device)?;
        let precision = self.config.precision;
        let text_encoder = rounded(model.text_encoder.clone(), precision);
        let context = text_encoder.encode(&prompts, None, &none);
        let [input, target] = [noised.input, noised.target].map(Tensor::from_inner);
        let input = Dual::constant(input).cast(precision.dtype());
        let timesteps = Tensor::from_inner(noised.timesteps);
        let unet = rounded(model.unet.clone(), precision);
        let (output, middle) = unet.forward(input, timesteps, &context, &none);
        let [output, middle] = [output, middle].map(|tensor| tensor.cast(FloatDType::F32));
        let truths: Vec<Truth> = scenes.iter().map(Scene::truth).collect();
        let error = (output.primal - target).powi_scalar(2) * self.weights(&truths, &device);
        let places = middle.primal.flatten::<3>(2, 3).swap_dims(1, 2);
        Ok(error.mean() + model.places.loss(places, &truths) * self.config.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_cover_the_range_as_densely_as_their_power_says() {
        let drawn = |power| stratified(1000, 500, power, &mut Seed::new(0).at(0));
        let mean = |steps: &[usize]| steps.iter().sum::<usize>() as f64 / steps.len() as f64;
        // The mean of t with density t^p on [0, 1] is (p + 1) / (p + 2).
        for (power, expected) in [(0.0, 1.0 / 2.0), (1.0, 2.0 / 3.0), (2.0, 3.0 / 4.0)] {
            let steps = drawn(power);
            assert!((mean(&steps) / 500.0 - expected).abs() < 2e-3, "{power}");
            assert!(steps.is_sorted() && steps[999] < 500);
        }
        assert!((0..500).all(|step| drawn(0.0).contains(&step)), "two of each timestep");
    }
}
