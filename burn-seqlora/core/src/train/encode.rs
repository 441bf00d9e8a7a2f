//! From images and captions to what the loss takes: latents, masks, prompts, noise, timesteps.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seqlora_kernels::KernelBackend;

use super::prompts::{concept_vocabulary, tokens};
use crate::data::ConceptData;
use crate::diffusion::DenoisingSample;
use crate::error::{Error, Result};
use crate::model::{DiffusionModel, LatentPosterior};
use crate::rng::{Seed, normal};
use crate::settings::{NoiseReuse, TrainConfig};
use crate::text::{TextBatch, Vocabulary};

/// One concept's images as latents: several placements of each, encoded once and drawn from.
#[derive(Debug)]
pub struct EncodedConcept<'a, B: Backend, M> {
    model: &'a M,
    source: &'a dyn ConceptData,
    config: &'a TrainConfig,
    vocabulary: Vocabulary,
    seed: Seed,
    /// Mean and standard deviation of the latents, `[placements, channels, height, width]`.
    mean: Tensor<B, 4>,
    std: Tensor<B, 4>,
    /// Where the loss counts, `[placements, 1, height, width]`.
    mask: Tensor<B, 4>,
    /// The image that each placement shows.
    image: Vec<usize>,
}

/// The side of the images that a concept is learnt from, in pixels.
///
/// # Errors
/// If the model cannot take such images.
pub fn resolution<B, M>(config: &TrainConfig, model: &M) -> Result<usize>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let (side, unit) = (config.resolution.unwrap_or(model.resolution()), model.size_unit());
    if side == 0 || !side.is_multiple_of(unit) {
        let reason = format!("{side} pixels are not a positive multiple of the model's {unit}");
        return Err(Error::Invalid(format!("resolution: {reason}")));
    }
    Ok(side)
}

impl<'a, B: KernelBackend, M: DiffusionModel<B>> EncodedConcept<'a, B, M> {
    /// Decodes and encodes the concept's images.
    ///
    /// # Errors
    /// If an image cannot be used, or a caption cannot be tokenized.
    pub fn new(
        model: &'a M,
        source: &'a dyn ConceptData,
        config: &'a TrainConfig,
        seed: &Seed,
    ) -> Result<Self> {
        let size = resolution(config, model)?;
        config.transform.validate()?;
        let images = source.open(size, model.downscale())?;
        let image: Vec<usize> =
            (0..images.len() * config.crops).map(|i| i % images.len()).collect();
        let side = size / model.downscale();
        let device = model.device();
        let placements = seed.fork("placements");
        let tensor = |values: Vec<f32>, shape: [usize; 4]| {
            Tensor::<B, 4>::from_data(TensorData::new(values, shape), &device)
        };
        let (mut means, mut stds, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for (number, image) in image.iter().enumerate() {
            let mut rng = placements.at(number as u64);
            let example = images.example(*image, &config.transform, &mut rng)?;
            let pixels = tensor(example.pixels, [1, 3, size, size]);
            let LatentPosterior { mean, std } = model.encode_image(pixels);
            let mask = if config.masked_loss { example.mask } else { example.frame };
            means.push(mean);
            stds.push(std);
            masks.push(tensor(mask, [1, 1, side, side]));
        }
        Ok(Self {
            vocabulary: concept_vocabulary(source.id(), config, model.cross_attention_layers()),
            mean: Tensor::cat(means, 0),
            std: Tensor::cat(stds, 0),
            mask: Tensor::cat(masks, 0),
            seed: seed.clone(),
            model,
            source,
            config,
            image,
        })
    }

    /// The samples of training step `step`: one that all of its evaluations share, or one for each.
    ///
    /// # Errors
    /// If a prompt cannot be tokenized.
    pub fn samples(&self, step: usize) -> Result<Vec<DenoisingSample<B>>> {
        let placements: Vec<usize> =
            (0..self.config.batch).map(|i| self.placement(step * self.config.batch + i)).collect();
        let evaluations = match self.config.noise {
            NoiseReuse::Minibatch => 1,
            NoiseReuse::Evaluation => self.config.outer * (self.config.inner + 1),
        };
        let first = step * evaluations;
        (first..first + evaluations)
            .map(|evaluation| {
                let mut rng = self.seed.fork("timesteps").at(evaluation as u64);
                let count = self.model.noise_schedule().num_train_timesteps();
                let timesteps = placements.iter().map(|_| rng.random_range(0..count)).collect();
                let noise = self.seed.fork("noise");
                let prompts =
                    self.prompts(&placements, &mut self.seed.fork("captions").at(step as u64))?;
                self.sample(&placements, timesteps, prompts, &noise, evaluation as u64)
            })
            .collect()
    }

    /// Fixed samples whose timesteps are spread evenly, to compare the loss before and after.
    ///
    /// # Errors
    /// If a prompt cannot be tokenized.
    pub fn probes(&self) -> Result<Vec<DenoisingSample<B>>> {
        let batch = self.config.batch;
        let total = self.config.probes * batch;
        let count = self.model.noise_schedule().num_train_timesteps();
        (0..self.config.probes)
            .map(|probe| {
                let slots: Vec<usize> = (probe * batch..(probe + 1) * batch).collect();
                let placements: Vec<usize> = slots.iter().map(|i| i % self.image.len()).collect();
                let timesteps = slots.iter().map(|i| (2 * i + 1) * count / (2 * total)).collect();
                let seed = self.seed.fork("probes");
                let prompts =
                    self.prompts(&placements, &mut seed.fork("captions").at(probe as u64))?;
                self.sample(&placements, timesteps, prompts, &seed, probe as u64)
            })
            .collect()
    }

    /// The placement that draw number `draw` uses: every epoch is a new permutation of all.
    fn placement(&self, draw: usize) -> usize {
        let count = self.image.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut self.seed.fork("epochs").at((draw / count) as u64));
        order[draw % count]
    }

    fn prompts(&self, placements: &[usize], rng: &mut ChaCha8Rng) -> Result<TextBatch<B>> {
        let all = placements.iter().map(|placement| {
            let image = self.image[*placement];
            let caption = self.source.caption(image, &self.config.captions, rng);
            tokens(self.model, &self.vocabulary, (self.source, self.config), &caption)
        });
        let all = all.collect::<Result<Vec<_>>>()?;
        let layers = self.model.cross_attention_layers();
        Ok(TextBatch::new(&all, &self.vocabulary, layers, &self.mean.device()))
    }

    fn sample(
        &self,
        placements: &[usize],
        timesteps: Vec<usize>,
        prompts: TextBatch<B>,
        seed: &Seed,
        counter: u64,
    ) -> Result<DenoisingSample<B>> {
        let device = self.mean.device();
        let index: Vec<i32> = placements.iter().map(|p| *p as i32).collect();
        let index = Tensor::<B, 1, Int>::from_data(index.as_slice(), &device);
        let pick = |t: &Tensor<B, 4>| t.clone().select(0, index.clone());
        let (mean, std) = (pick(&self.mean), pick(&self.std));
        let shape @ [batch, channels, _, _] = mean.dims();
        let draw =
            |purpose: &str, shape| normal(shape, &mut seed.fork(purpose).at(counter), &device);
        let latents = mean + std * draw("latents", shape);
        let offset: Tensor<B, 4> = draw("offset", [batch, channels, 1, 1]);
        let noise = draw("noise", shape) + offset.mul_scalar(self.config.noise_offset);
        Ok(DenoisingSample { latents, noise, timesteps, mask: pick(&self.mask), prompts })
    }
}
