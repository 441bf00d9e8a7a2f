//! From images and captions to what the loss takes: latents, masks, prompts, noise, timesteps.

use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use seqlora_kernels::KernelBackend;
use serde_json::json;

use super::epochs::Epochs;
use super::latent_cache::LatentCache;
use super::prompts::{concept_vocabulary, tokens};
use crate::data::{ConceptData, Examples};
use crate::diffusion::DenoisingSample;
use crate::error::{Error, Result};
use crate::model::{DiffusionModel, LatentPosterior};
use crate::read;
use crate::rng::{Seed, normal};
use crate::settings::{NoiseReuse, TrainConfig};
use crate::text::{TextBatch, Vocabulary};

/// One concept's images as latents: several placements of each, encoded when they are drawn first.
///
/// Only one minibatch is in memory. With a [cache](Self::with_cache) on disk each placement is decoded and
/// encoded once; the VAE is frozen, so that this changes no number. The text encoder is trained, and
/// prompts are encoded in every evaluation.
#[derive(Debug)]
pub struct EncodedConcept<'a, B: Backend, M> {
    model: &'a M,
    source: &'a dyn ConceptData,
    images: Box<dyn Examples + 'a>,
    config: &'a TrainConfig,
    vocabulary: Vocabulary,
    seed: Seed,
    epochs: Epochs,
    /// Pixels per side.
    size: usize,
    cache: Option<LatentCache>,
    device: B::Device,
}

/// The latents of some placements.
struct Latents<B: Backend> {
    /// Mean and standard deviation, `[placements, channels, height, width]`.
    mean: Tensor<B, 4>,
    std: Tensor<B, 4>,
    /// Where the loss counts, `[placements, 1, height, width]`.
    mask: Tensor<B, 4>,
    /// Where the subject is, for the attention's term.
    subject: Option<Tensor<B, 4>>,
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
    /// Opens the concept's images; none is decoded yet.
    ///
    /// # Errors
    /// If the model cannot take images of this size, or there are too many placements.
    pub fn new(
        model: &'a M,
        source: &'a dyn ConceptData,
        config: &'a TrainConfig,
        seed: &Seed,
    ) -> Result<Self> {
        let size = resolution(config, model)?;
        config.transform.validate()?;
        let images = source.open(size, model.downscale())?;
        let placements = images.len().checked_mul(config.crops);
        let placements = placements.filter(|count| (1..=u32::MAX as usize).contains(count));
        let placements = placements.ok_or_else(|| {
            let (id, images, crops) = (source.id(), images.len(), config.crops);
            Error::Invalid(format!("`{id}` has {images} images, times `crops` = {crops}"))
        })?;
        Ok(Self {
            vocabulary: concept_vocabulary(source.id(), config, model.cross_attention_layers()),
            epochs: Epochs::new(seed.fork("epochs"), placements),
            seed: seed.clone(),
            cache: None,
            device: model.device(),
            model,
            source,
            images,
            config,
            size,
        })
    }

    /// With latents cached in a folder. `data` is the digest of the concept's data, and `model` that of the
    /// model's weights.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn with_cache(self, folder: &Path, data: &str, model: &str) -> Result<Self> {
        let TrainConfig { seed, transform, masked_loss, .. } = self.config;
        let mut identity = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "data": data,
            "model": model,
            "id": self.source.id(),
            "seed": seed,
            "transform": transform,
            "masked_loss": masked_loss,
            "size": self.size,
        });
        if self.planes() > 1 {
            identity["subject"] = json!(true);
        }
        let planes = 2 * self.model.latent_channels() + self.planes();
        let values = planes * self.side() * self.side();
        let cache = LatentCache::open(folder, &identity, values)?;
        // Only tests compute in other types.
        let is_f32 = Tensor::<B, 1>::zeros([1], &self.device).dtype() == DType::F32;
        Ok(Self { cache: is_f32.then_some(cache), ..self })
    }

    /// Latents per side.
    fn side(&self) -> usize {
        self.size / self.model.downscale()
    }

    /// Masks of a placement: where the loss counts, and for the attention's term where the subject is.
    fn planes(&self) -> usize {
        1 + usize::from(self.config.attention().is_some())
    }

    fn placements(&self) -> usize {
        self.images.len() * self.config.crops
    }

    /// The image that a placement shows.
    fn image(&self, placement: usize) -> usize {
        placement % self.images.len()
    }

    /// The samples of training step `step`: one that all of its evaluations share, or one for each.
    ///
    /// # Errors
    /// If an image cannot be used, or a prompt cannot be tokenized.
    pub fn samples(&self, step: usize) -> Result<Vec<DenoisingSample<B>>> {
        let batch = self.config.batch;
        let placements: Vec<usize> =
            (0..batch).map(|i| self.epochs.placement(step * batch + i)).collect();
        let evaluations = match self.config.noise {
            NoiseReuse::Minibatch => 1,
            NoiseReuse::Evaluation => self.config.outer * (self.config.inner + 1),
        };
        let latents = self.latents(&placements)?;
        let first = step * evaluations;
        (first..first + evaluations)
            .map(|evaluation| {
                let mut rng = self.seed.fork("timesteps").at(evaluation as u64);
                let count = self.model.noise_schedule().num_train_timesteps();
                let timesteps = placements.iter().map(|_| rng.random_range(0..count)).collect();
                let noise = self.seed.fork("noise");
                let prompts =
                    self.prompts(&placements, &mut self.seed.fork("captions").at(step as u64))?;
                Ok(self.sample(&latents, timesteps, prompts, &noise, evaluation as u64))
            })
            .collect()
    }

    /// Fixed sample number `probe` of `probes`, to compare the loss before and after. The timesteps of all
    /// are spread evenly.
    ///
    /// # Errors
    /// If an image cannot be used, or a prompt cannot be tokenized.
    pub fn probe(&self, probe: usize) -> Result<DenoisingSample<B>> {
        let batch = self.config.batch;
        let total = self.config.probes * batch;
        let count = self.model.noise_schedule().num_train_timesteps();
        let slots = probe * batch..(probe + 1) * batch;
        let placements: Vec<usize> = slots.clone().map(|i| i % self.placements()).collect();
        let timesteps = slots.map(|i| (2 * i + 1) * count / (2 * total)).collect();
        let seed = self.seed.fork("probes");
        let prompts = self.prompts(&placements, &mut seed.fork("captions").at(probe as u64))?;
        let latents = self.latents(&placements)?;
        Ok(self.sample(&latents, timesteps, prompts, &seed, probe as u64))
    }

    fn prompts(&self, placements: &[usize], rng: &mut ChaCha8Rng) -> Result<TextBatch<B>> {
        let all = placements.iter().map(|placement| {
            let image = self.image(*placement);
            let caption = self.source.caption(image, &self.config.captions, rng);
            tokens(self.model, &self.vocabulary, (self.source, self.config), &caption)
        });
        let all = all.collect::<Result<Vec<_>>>()?;
        let layers = self.model.cross_attention_layers();
        Ok(TextBatch::new(&all, &self.vocabulary, layers, &self.device))
    }

    fn latents(&self, placements: &[usize]) -> Result<Latents<B>> {
        let all = placements.iter().map(|placement| self.placement(*placement));
        let all = all.collect::<Result<Vec<_>>>()?;
        let cat = |part: fn(&Latents<B>) -> &Tensor<B, 4>| {
            Tensor::cat(all.iter().map(|latents| part(latents).clone()).collect(), 0)
        };
        let subject = all.iter().map(|latents| latents.subject.clone()).collect::<Option<Vec<_>>>();
        Ok(Latents {
            mean: cat(|l| &l.mean),
            std: cat(|l| &l.std),
            mask: cat(|l| &l.mask),
            subject: subject.map(|subject| Tensor::cat(subject, 0)),
        })
    }

    /// One placement, from the cache or from the image.
    fn placement(&self, number: usize) -> Result<Latents<B>> {
        let Some(cache) = &self.cache else { return self.encode(number) };
        if let Some(values) = cache.get(number)? {
            let (side, channels) = (self.side(), self.model.latent_channels());
            let (moments, masks) = values.split_at(2 * channels * side * side);
            let mut masks =
                masks.chunks(side * side).map(|mask| self.tensor(mask, [1, 1, side, side]));
            let (mean, std) = moments.split_at(moments.len() / 2);
            let latents = |values| self.tensor(values, [1, channels, side, side]);
            let mask = masks.next().expect("a mask");
            let subject = masks.next();
            return Ok(Latents { mean: latents(mean), std: latents(std), mask, subject });
        }
        let latents = self.encode(number)?;
        let Latents { mean, std, mask, subject } = &latents;
        let parts = [mean, std, mask].into_iter().chain(subject);
        let values = parts.flat_map(|t| read::data(t.clone()).iter::<f32>().collect::<Vec<_>>());
        cache.put(number, &values.collect::<Vec<_>>())?;
        Ok(latents)
    }

    /// Decodes and encodes one placement.
    fn encode(&self, number: usize) -> Result<Latents<B>> {
        let mut rng = self.seed.fork("placements").at(number as u64);
        let transform = &self.config.transform;
        let example = self.images.example(self.image(number), transform, &mut rng)?;
        let pixels = self.tensor(&example.pixels, [1, 3, self.size, self.size]);
        let LatentPosterior { mean, std } = self.model.encode_image(pixels);
        let mask = if self.config.masked_loss { &example.mask } else { &example.frame };
        let mask_shape = [1, 1, self.side(), self.side()];
        let subject = self.config.attention().map(|_| self.tensor(&example.mask, mask_shape));
        Ok(Latents { mean, std, mask: self.tensor(mask, mask_shape), subject })
    }

    fn tensor(&self, values: &[f32], shape: [usize; 4]) -> Tensor<B, 4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &self.device)
    }

    fn sample(
        &self,
        latents: &Latents<B>,
        timesteps: Vec<usize>,
        prompts: TextBatch<B>,
        seed: &Seed,
        counter: u64,
    ) -> DenoisingSample<B> {
        let Latents { mean, std, mask, subject } = latents;
        let shape @ [batch, channels, _, _] = mean.dims();
        let draw =
            |purpose: &str, shape| normal(shape, &mut seed.fork(purpose).at(counter), &self.device);
        let latents = mean.clone() + std.clone() * draw("latents", shape);
        let offset: Tensor<B, 4> = draw("offset", [batch, channels, 1, 1]);
        let noise = draw("noise", shape) + offset.mul_scalar(self.config.noise_offset);
        let (mask, subject) = (mask.clone(), subject.clone());
        DenoisingSample { latents, noise, timesteps, mask, subject, prompts }
    }
}
