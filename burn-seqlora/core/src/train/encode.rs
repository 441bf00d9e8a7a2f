//! From images and captions to what the loss takes: latents, masks, prompts, noise, timesteps.

use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use seqlora_kernels::KernelBackend;
use serde_json::json;

use super::draw::{Draw, Latents};
use super::epochs::Epochs;
use super::latent_cache::LatentCache;
use super::prompts::{class_tokens, concept_vocabulary, tokens};
use crate::data::{ConceptData, Examples};
use crate::diffusion::{DenoisingSample, Noised, PriorSample, noised};
use crate::error::{Error, Result};
use crate::lora::DualAdapters;
use crate::micro_batches::MicroBatch;
use crate::model::{DiffusionModel, LatentPosterior};
use crate::read;
use crate::rng::Seed;
use crate::settings::{NoiseReuse, TrainConfig};
use crate::text::{TextBatch, Tokens, Vocabulary};

/// The folder of the latents of images of the class, in that of the concept's.
const CLASS: &str = "class";

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
    /// The model without the concept: adapters of earlier ones.
    earlier: DualAdapters<B>,
    /// Images of the class that is to be kept, if there are any.
    class: Option<Box<Self>>,
    device: B::Device,
}

/// The images of one evaluation of the loss, in the parts that go through the model one after the other.
pub type Minibatch<B> = Vec<MicroBatch<DenoisingSample<B>>>;

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
        let class = source.class_images().filter(|_| config.prior_weight > 0.0);
        let class = class.map(|class| Self::new(model, class, config, &seed.fork("class")));
        Ok(Self {
            class: class.transpose()?.map(Box::new),
            vocabulary: concept_vocabulary(source.id(), config, model.cross_attention_layers()),
            epochs: Epochs::new(seed.fork("epochs"), placements),
            seed: seed.clone(),
            cache: None,
            earlier: DualAdapters::none(),
            device: model.device(),
            model,
            source,
            images,
            config,
            size,
        })
    }

    /// On weights to which adapters of earlier concepts are added: without images of the class, what is kept of it
    /// is what the model with these predicts.
    pub fn on(self, earlier: DualAdapters<B>) -> Self {
        Self { earlier, ..self }
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
        let folder = folder.join(CLASS);
        let class = self.class.map(|class| class.with_cache(&folder, data, model).map(Box::new));
        Ok(Self { cache: is_f32.then_some(cache), class: class.transpose()?, ..self })
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

    /// The minibatches of training step `step`: one that all of its evaluations share, or one for each.
    ///
    /// # Errors
    /// If an image cannot be used, or a prompt cannot be tokenized.
    pub fn samples(&self, step: usize) -> Result<Vec<Minibatch<B>>> {
        let draws = self.draws(step)?;
        let of_class = self.class.as_ref().map(|class| class.draws(step)).transpose()?;
        let mut of_class = of_class.into_iter().flatten();
        draws.into_iter().map(|draw| self.minibatch(draw, of_class.next())).collect()
    }

    /// Fixed minibatch number `probe` of `probes`, to compare the loss before and after. The timesteps of all
    /// are spread evenly.
    ///
    /// # Errors
    /// If an image cannot be used, or a prompt cannot be tokenized.
    pub fn probe(&self, probe: usize) -> Result<Minibatch<B>> {
        let of_class = self.class.as_ref().map(|class| class.probe_draw(probe)).transpose()?;
        self.minibatch(self.probe_draw(probe)?, of_class)
    }

    fn draws(&self, step: usize) -> Result<Vec<Draw<B>>> {
        let batch = self.config.batch;
        let placements: Vec<usize> =
            (0..batch).map(|i| self.epochs.placement(step * batch + i)).collect();
        let evaluations = match self.config.noise {
            NoiseReuse::Minibatch => 1,
            NoiseReuse::Evaluation => self.config.outer * (self.config.inner + 1),
        };
        let latents = self.latents(&placements)?;
        let seed = self.seed.fork("noise");
        let first = step * evaluations;
        let draw = |evaluation: usize| {
            let mut rng = self.seed.fork("timesteps").at(evaluation as u64);
            let count = self.model.noise_schedule().num_train_timesteps();
            let timesteps = placements.iter().map(|_| rng.random_range(0..count)).collect();
            let captions =
                self.captions(&placements, &mut self.seed.fork("captions").at(step as u64));
            let rng = (&seed, evaluation as u64);
            latents.draw(timesteps, captions, rng, self.config.noise_offset)
        };
        Ok((first..first + evaluations).map(draw).collect())
    }

    fn probe_draw(&self, probe: usize) -> Result<Draw<B>> {
        let batch = self.config.batch;
        let total = self.config.probes * batch;
        let count = self.model.noise_schedule().num_train_timesteps();
        let slots = probe * batch..(probe + 1) * batch;
        let placements: Vec<usize> = slots.clone().map(|i| i % self.placements()).collect();
        let timesteps = slots.map(|i| (2 * i + 1) * count / (2 * total)).collect();
        let seed = self.seed.fork("probes");
        let captions = self.captions(&placements, &mut seed.fork("captions").at(probe as u64));
        let (latents, rng) = (self.latents(&placements)?, (&seed, probe as u64));
        Ok(latents.draw(timesteps, captions, rng, self.config.noise_offset))
    }

    /// The captions of placements, each with `{}` in the concept's place.
    fn captions(&self, placements: &[usize], rng: &mut ChaCha8Rng) -> Vec<String> {
        let caption = |placement: &usize| {
            self.source.caption(self.image(*placement), &self.config.captions, rng)
        };
        placements.iter().map(caption).collect()
    }

    /// A draw of the concept, and one of images of its class if there are any, in parts.
    fn minibatch(&self, draw: Draw<B>, of_class: Option<Draw<B>>) -> Result<Minibatch<B>> {
        let (all, at_once) = (self.config.batch, self.config.images_at_once());
        if at_once == all {
            return self.sample(draw, of_class).map(MicroBatch::whole);
        }
        let part = |first| {
            let images = first..all.min(first + at_once);
            let share = images.len() as f64 / all as f64;
            let of_class = of_class.as_ref().map(|draw| draw.part(images.clone()));
            Ok(MicroBatch { sample: self.sample(draw.part(images), of_class)?, share })
        };
        (0..all).step_by(at_once).map(part).collect()
    }

    /// What the loss takes: a draw of the concept, and one of images of its class if there are any.
    fn sample(&self, draw: Draw<B>, of_class: Option<Draw<B>>) -> Result<DenoisingSample<B>> {
        let named =
            |c: &String| tokens(self.model, &self.vocabulary, (self.source, self.config), c);
        let prompts = self.batch(&self.vocabulary, draw.captions.iter().map(named))?;
        let prior = match (self.config.prior_weight > 0.0, of_class) {
            (false, _) => None,
            (true, Some(of_class)) => {
                let prompts = self.class_prompts(&of_class)?;
                let Noised { input, target, .. } = self.noised(&of_class);
                let Draw { timesteps, mask, .. } = of_class;
                Some(PriorSample { input, timesteps, target, mask, prompts })
            }
            (true, None) => {
                let prompts = self.class_prompts(&draw)?;
                let (noised, timesteps) = (self.noised(&draw), &draw.timesteps);
                Some(PriorSample::predicted(self.model, &self.earlier, noised, timesteps, prompts))
            }
        };
        let Draw { latents, noise, timesteps, mask, subject, .. } = draw;
        Ok(DenoisingSample { latents, noise, timesteps, mask, subject, prompts, prior })
    }

    fn noised(&self, draw: &Draw<B>) -> Noised<B> {
        let (latents, noise) = (draw.latents.clone(), draw.noise.clone());
        noised(self.model.noise_schedule(), latents, noise, &draw.timesteps)
    }

    fn class_prompts(&self, draw: &Draw<B>) -> Result<TextBatch<B>> {
        let of_class = |c: &String| class_tokens(self.model, self.source, c);
        self.batch(&Vocabulary::default(), draw.captions.iter().map(of_class))
    }

    fn batch(
        &self,
        vocabulary: &Vocabulary,
        prompts: impl Iterator<Item = Result<Tokens>>,
    ) -> Result<TextBatch<B>> {
        let layers = self.model.cross_attention_layers();
        Ok(TextBatch::new(&prompts.collect::<Result<Vec<_>>>()?, vocabulary, layers, &self.device))
    }

    fn latents(&self, placements: &[usize]) -> Result<Latents<B>> {
        let all = placements.iter().map(|placement| self.placement(*placement));
        Ok(Latents::cat(&all.collect::<Result<Vec<_>>>()?))
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
}
