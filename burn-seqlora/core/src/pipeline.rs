//! From prompts to images: a model with a composition of concepts on it.
//!
//! This is the only text-to-image path there is. An image is a function of its request alone: the same
//! request gives the same image in any batch, but for the rounding of the backend's kernels.

mod image;
mod init;
mod prompts;
mod request;
mod settings;
mod sizes;

use burn::tensor::Tensor;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::ops::release_tape;

use crate::compose::Composition;
use crate::diffusion::{Area, Conditioning, Context, Guidance, sample_from};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::fusion::merged;
use crate::model::{DiffusionModel, TextEncoder};
use crate::text::Vocabulary;

pub use self::image::Image;
pub use self::init::InitImage;
pub use self::prompts::TextSettings;
use self::prompts::{ReadPrompt, encode};
pub use self::request::{ImageRequest, Noise};
pub use self::settings::SamplingSettings;
pub use self::sizes::ImageSizes;

/// A model with a composition of concepts on it.
#[derive(Debug)]
pub struct Pipeline<'a, B: KernelBackend, M> {
    model: &'a M,
    composition: Composition<B>,
}

/// How many tokens of a prompt do not fit into a text encoder and are left out, with concepts of this vocabulary.
///
/// # Errors
/// If the prompt cannot be read, or there is no room for a concept's words.
pub fn truncated_tokens<B: KernelBackend>(
    model: &impl TextEncoder<B>,
    vocabulary: &Vocabulary,
    prompt: &str,
    text: &TextSettings,
) -> Result<usize> {
    Ok(ReadPrompt::new(model, vocabulary, text.syntax, prompt)?.truncated())
}

/// The images of a batch.
#[derive(Debug, Clone)]
pub struct Sampled<B: KernelBackend> {
    /// In the order of the requests.
    pub images: Vec<Image>,
    /// The latents that they were decoded from, `[images, channels, height, width]`.
    pub latents: Tensor<B, 4>,
}

impl<'a, B: KernelBackend, M: DiffusionModel<B>> Pipeline<'a, B, M> {
    /// Puts a composition on a model: as factors, or added to the weights of the layers at which so many
    /// factors would cost more.
    pub fn new(model: &'a M, mut composition: Composition<B>) -> Self {
        composition.adapters = merged(model, &composition.adapters);
        Self { model, composition }
    }

    /// Encodes prompts in which concepts may be named, `[prompts, 77 · chunks, width]` in Stable Diffusion:
    /// those with fewer chunks than others are filled up by empty ones.
    ///
    /// # Errors
    /// If a prompt cannot be read or names an unknown concept, a concept's words do not fit, or the text
    /// encoder has fewer layers than are to be skipped.
    pub fn encode(&self, prompts: &[&str], text: &TextSettings) -> Result<Conditioning<B>> {
        let read = |prompt: &&str| self.read(prompt, text);
        let read = prompts.iter().map(read).collect::<Result<Vec<_>>>()?;
        let chunks = read.iter().map(ReadPrompt::chunks).max().unwrap_or(1);
        let layers = text.layers(self.model.text_layers())?;
        Ok(encode(self.model, &self.composition, &read, chunks, layers)?.into())
    }

    fn read(&self, prompt: &str, text: &TextSettings) -> Result<ReadPrompt> {
        ReadPrompt::new(self.model, &self.composition.vocabulary, text.syntax, prompt)
    }

    /// How many tokens of a prompt do not fit into the text encoder and are left out.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn truncated(&self, prompt: &str, text: &TextSettings) -> Result<usize> {
        Ok(self.read(prompt, text)?.truncated())
    }

    /// The chunks of the longest prompt of an image: prompt, negative prompt if there is guidance, and those
    /// of regions. All of them are filled up to it, and all images of a batch must have as many.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn chunks(&self, request: &ImageRequest, settings: &SamplingSettings) -> Result<usize> {
        let negative = settings.is_guided().then_some(&request.negative);
        let regions = request.regions.iter().map(|(_, prompt)| prompt);
        let prompts = [&request.prompt].into_iter().chain(negative).chain(regions);
        let chunks = prompts.map(|prompt| Ok(self.read(prompt, &settings.text)?.chunks()));
        Ok(chunks.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(1))
    }

    /// The shape of one image's latents, `[1, channels, height, width]`.
    ///
    /// # Errors
    /// If the model cannot make images of this size.
    pub fn latent_shape(&self, settings: &SamplingSettings) -> Result<[usize; 4]> {
        let sizes = ImageSizes {
            side: self.model.resolution(),
            unit: self.model.size_unit(),
            scale: self.model.downscale(),
            channels: self.model.latent_channels(),
        };
        sizes.latent_shape(settings.size)
    }

    /// Samples a batch of images, and decodes them one after the other.
    ///
    /// `progress` gets the number of steps done; `None` if it stops the sampling.
    ///
    /// # Errors
    /// If a prompt cannot be used, the requests have different regions or prompts of different
    /// [length](Self::chunks), the settings mean nothing to the model, the image to begin with has another
    /// size, or an image comes out as numbers that are not finite.
    pub fn sample(
        &self,
        requests: &[ImageRequest],
        settings: &SamplingSettings,
        mut progress: impl FnMut(usize) -> Flow,
    ) -> Result<Option<Sampled<B>>> {
        let shape = self.latent_shape(settings)?;
        if !settings.guidance.is_finite() {
            return Err(Error::Invalid(format!("guidance: {} is not finite", settings.guidance)));
        }
        let plan = settings.plan(self.model.scheduler())?;
        let guidance = self.guidance(requests, settings)?;
        let device = self.model.device();
        let batch = |one: &dyn Fn(&Noise) -> Tensor<B, 4>| {
            Tensor::cat(requests.iter().map(|request| one(&request.noise)).collect(), 0)
        };
        let mut first =
            batch(&|noise| noise.latents(shape, &device)).mul_scalar(plan.init_noise_sigma);
        if let Some(init) = &settings.init {
            let posterior = init.encode(self.model, shape)?;
            let drawn = batch(&|noise| noise.posterior(shape, &device));
            first = first + (posterior.mean + posterior.std * drawn).mul_scalar(plan.init_signal);
        }
        let fresh = |step: usize| batch(&|noise| noise.fresh(step, shape, &device));
        let go_on = |step| progress(step) == Flow::Continue;
        let adapters = &self.composition.adapters;
        let latents = sample_from(self.model, adapters, &guidance, &plan, first, fresh, go_on);
        let Some(latents) = latents else { return Ok(None) };
        let decode = |number| {
            let latents = latents.clone().narrow(0, number, 1);
            Image::from_pixels(self.model.decode_latents(latents))
        };
        let images = (0..requests.len()).map(decode).collect::<Result<_>>()?;
        release_tape::<B>();
        Ok(Some(Sampled { images, latents }))
    }

    /// One image.
    ///
    /// # Errors
    /// Those of [`sample`](Self::sample).
    pub fn generate(&self, request: &ImageRequest, settings: &SamplingSettings) -> Result<Image> {
        let sampled = self.sample(std::slice::from_ref(request), settings, |_| Flow::Continue)?;
        Ok(sampled.expect("nothing stops it").images.remove(0))
    }

    /// The conditioning of a batch. The negative prompt of an image is the same in every region.
    fn guidance(
        &self,
        requests: &[ImageRequest],
        settings: &SamplingSettings,
    ) -> Result<Guidance<B>> {
        let size = settings.size.unwrap_or([self.model.resolution(); 2]);
        let first = requests.first().map_or(&[][..], |request| &request.regions);
        let boxes = |request: &ImageRequest| {
            request.regions.iter().map(|(corners, _)| *corners).collect::<Vec<_>>()
        };
        if requests.iter().any(|request| boxes(request) != boxes(&requests[0])) {
            return Err(Error::Invalid("the images of a batch must have the same regions".into()));
        }
        let layers = settings.text.layers(self.model.text_layers())?;
        let chunks = requests.iter().map(|request| self.chunks(request, settings));
        let chunks = chunks.collect::<Result<Vec<_>>>()?;
        if chunks.iter().any(|count| *count != chunks[0]) {
            let text = "the prompts of a batch must have equally many chunks of tokens";
            return Err(Error::Invalid(text.into()));
        }
        let encode = |prompt: &dyn Fn(&ImageRequest) -> &str| -> Result<Context<B>> {
            let read = requests.iter().map(|request| self.read(prompt(request), &settings.text));
            let count = chunks.first().copied().unwrap_or(1);
            let read = read.collect::<Result<Vec<_>>>()?;
            encode(self.model, &self.composition, &read, count, layers)
        };
        if !(0.0..=1.0).contains(&settings.region_base) {
            let text = format!("a share of {} in regions is not from 0 to 1", settings.region_base);
            return Err(Error::Invalid(text));
        }
        let base = settings.region_base as f32;
        let negative = match settings.is_guided() {
            true => encode(&|request| &request.negative)?,
            false => encode(&|_| "")?,
        };
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (number, (corners, _)) in first.iter().enumerate() {
            let area = Area::new(*corners, size)?;
            positives.push((area, encode(&|request| &request.regions[number].1)?));
            negatives.push((area, negative.clone()));
        }
        Ok(Guidance {
            prompt: encode(&|request| &request.prompt)?
                .with_regions(positives)
                .with_base(base)
                .into(),
            negative: negative.with_regions(negatives).with_base(base).into(),
            scale: settings.guidance.max(1.0),
        })
    }
}
