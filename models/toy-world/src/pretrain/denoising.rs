//! Joint training of the UNet and the text encoder on latents of captioned scenes.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_jvp::Dual;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seqlora_core::diffusion::{Conditioning, Context};
use seqlora_core::diffusion::{Guidance, NoiseSchedule, SamplerPlan, noised, sample};
use seqlora_core::error::Result;
use seqlora_core::lora::DualAdapters;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::rng::{Seed, normal};
use seqlora_core::text::{TextBatch, Vocabulary};
use seqlora_kernels::{KernelBackend, TrainBackend};

use super::captions::tokenize;
use super::classification::covered;
use super::config::PretrainConfig;
use super::denoising_batch::{Batch, Prompts};
use super::parameters::rounded;
use super::scene_latents::SceneLatents;
use super::spatial_labels::SpatialHead;
use super::train::Task;
use crate::world::Truth;
use seqlora_models::clip::ClipTextModel;
use seqlora_models::tokenizer::ClipTokenizer;
use seqlora_models::unet::UNet;

/// The networks that are trained together.
///
/// The names of the fields are part of the seeds of the initial weights.
#[derive(Module, Debug)]
pub struct TextToLatents<B: Backend> {
    /// The denoiser.
    pub unet: UNet<B>,
    /// The text encoder.
    pub text_encoder: ClipTextModel<B>,
    /// The auxiliary head on the features of the UNet's middle block, for training only.
    pub places: SpatialHead<B>,
}

/// The task of denoising latents of random scenes, at random timesteps. The scenes repeat after
/// [`scenes`](PretrainConfig::scenes), each time with another caption, timestep and noise. Some of those
/// with two objects have a prompt for each half of the image instead of one for the whole. The loss is the weighted
/// mean squared error of the prediction, plus the auxiliary loss on spatial labels.
#[derive(Debug)]
pub struct Denoising<'a, B: TrainBackend> {
    /// Probabilities of scenes and captions, weights of the loss, and the precision.
    pub config: &'a PretrainConfig,
    /// The trained autoencoder, and the latents of scenes.
    pub latents: SceneLatents<B::InnerBackend>,
    /// The tokenizer, with the context length of the text encoder.
    pub tokenizer: ClipTokenizer,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// The seed of scenes, captions, timesteps and noise.
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

    /// One timestep per image: stratified, then shuffled.
    fn timesteps(&self, counter: u64, batch: usize) -> Vec<usize> {
        let mut rng = self.seed.fork("timesteps").at(counter);
        let count = self.schedule.num_train_timesteps();
        let mut timesteps = stratified(batch, count, self.config.timestep_power, &mut rng);
        timesteps.shuffle(&mut self.seed.fork("order").at(counter));
        timesteps
    }

    /// The weight of the squared error at each position of the latents: `[batch, 1, side, side]`.
    fn weights(&self, truths: &[Truth], device: &B::Device) -> Tensor<B, 4> {
        let [_, side, _] = self.latents.shape();
        let covered = covered(truths, side, device).sum_dim(2);
        let weights = covered * (self.config.object_weight - 1.0) + 1.0;
        weights.reshape([truths.len(), 1, side, side])
    }

    /// Images that a network generates for captions: `[captions, 3, side, side]`, about -1 to 1.
    ///
    /// # Errors
    /// If a caption cannot be tokenized.
    pub fn generate(
        &self,
        model: &TextToLatents<B::InnerBackend>,
        captions: &[String],
        Sampling { plan, guidance, seed }: &Sampling,
    ) -> Result<Tensor<B::InnerBackend, 4>> {
        let device = self.latents.vae().device();
        let none = DualAdapters::none();
        let encode = |captions: &[String]| -> Result<Conditioning<B::InnerBackend>> {
            let prompts = self.prompts(captions, &device)?;
            Ok(model.text_encoder.encode(&prompts, None, &none).into())
        };
        let negative = encode(&vec![String::new(); captions.len()])?;
        let guidance = Guidance { prompt: encode(captions)?, negative, scale: *guidance };
        let [channels, height, width] = self.latents.shape();
        let shape = [captions.len(), channels, height, width];
        let noise = |step: u64| normal(shape, &mut seed.at(step), &device);
        let fresh = |step| noise(1 + step as u64);
        let latents = sample(&model.unet, &none, &guidance, plan, noise(0), fresh, |_| true);
        Ok(self.latents.vae().decode_latents(latents.expect("sampling is not stopped")))
    }
}

/// Timesteps below `count`, in increasing order, with a density proportional to their `power`-th
/// power: one from each of `batch` ranges of equal probability.
fn stratified(batch: usize, count: usize, power: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let timestep = |range: usize| {
        let share = (range as f64 + rng.random_range(0.0..1.0)) / batch as f64;
        ((share.powf(1.0 / (1.0 + power)) * count as f64) as usize).min(count - 1)
    };
    (0..batch).map(timestep).collect()
}

/// The settings of image generation.
#[derive(Debug)]
pub struct Sampling {
    /// The sampler and its steps.
    pub plan: SamplerPlan,
    /// Scale of classifier-free guidance.
    pub guidance: f64,
    /// The seed of the noise.
    pub seed: Seed,
}

impl<B: TrainBackend> Task<B> for Denoising<'_, B> {
    type Module = TextToLatents<B>;

    fn loss(&self, model: &TextToLatents<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let first = samples.start;
        let device = self.latents.vae().device();
        let Batch { scenes, prompts } = Batch::new(self.config, &self.seed, samples);
        let latents = self.latents.encode(&scenes)?;
        let noise = normal(latents.dims(), &mut self.seed.fork("noise").at(first), &device);
        let timesteps = self.timesteps(first, scenes.len());
        let noised = noised(&self.schedule, latents, noise, &timesteps);
        let none = DualAdapters::none();
        let precision = self.config.precision;
        let text_encoder = rounded(model.text_encoder.clone(), precision);
        let encode = |captions: &[String]| -> Result<Context<B>> {
            Ok(text_encoder.encode(&self.prompts(captions, &device)?, None, &none))
        };
        let context = match prompts {
            Prompts::Whole(captions) => encode(&captions)?,
            Prompts::Halves(halves) => {
                let halves = halves.iter().map(|(area, captions)| Ok((*area, encode(captions)?)));
                let halves = halves.collect::<Result<Vec<_>>>()?;
                // The halves cover the image, so nothing sees the context of the whole.
                halves[0].1.clone().with_regions(halves)
            }
        };
        let [input, target] = [noised.input, noised.target].map(Tensor::from_inner);
        let input = Dual::constant(input).cast(precision.dtype());
        let timesteps = Tensor::from_inner(noised.timesteps);
        let unet = rounded(model.unet.clone(), precision);
        let (output, middle) = unet.forward(input, timesteps, &context, &none);
        let [output, middle] = [output, middle].map(|tensor| tensor.cast(FloatDType::F32));
        let truths: Vec<Truth> = scenes.iter().map(|(_, scene)| scene.truth()).collect();
        let error = (output.primal - target).powi_scalar(2) * self.weights(&truths, &device);
        let features = middle.primal.flatten::<3>(2, 3).swap_dims(1, 2);
        Ok(error.mean() + model.places.loss(features, &truths) * self.config.auxiliary_weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_have_the_density_of_their_power() {
        let timesteps = |power| stratified(1000, 500, power, &mut Seed::new(0).at(0));
        let mean = |steps: &[usize]| steps.iter().sum::<usize>() as f64 / steps.len() as f64;
        // The mean of t with density t^p on [0, 1] is (p + 1) / (p + 2).
        for (power, expected) in [(0.0, 1.0 / 2.0), (1.0, 2.0 / 3.0), (2.0, 3.0 / 4.0)] {
            let steps = timesteps(power);
            assert!((mean(&steps) / 500.0 - expected).abs() < 2e-3, "{power}");
            assert!(steps.is_sorted() && steps[999] < 500);
        }
        assert!((0..500).all(|step| timesteps(0.0).contains(&step)), "two of each timestep");
    }
}
