//! From prompts to images: a model with a composition of concepts on it.
//!
//! This is the only text-to-image path there is. An image is a function of its request alone: the same
//! request gives the same image in any batch, but for the rounding of the backend's kernels.

mod init;
mod prompts;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::KernelBackend;

use crate::compose::Composition;
use crate::diffusion::{
    Area, Conditioning, Context, Guidance, LevelLayout, SamplerKind, SamplerPlan, ScheduleError,
    SchedulerConfig, sample_from,
};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::fusion::merged;
use crate::model::DiffusionModel;
use crate::read;
use crate::rng::{Seed, normal};

pub use self::init::InitImage;
pub use self::prompts::TextSettings;
use self::prompts::{ReadPrompt, encode};

/// A model with a composition of concepts on it.
#[derive(Debug)]
pub struct Pipeline<'a, B: KernelBackend, M> {
    model: &'a M,
    composition: Composition<B>,
}

/// How images are sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingSettings {
    /// The sampler.
    pub sampler: SamplerKind,
    /// Sampling steps.
    pub steps: usize,
    /// The sampler's noise levels, where the model's file is not to decide.
    pub layout: LevelLayout,
    /// How prompts are read and encoded.
    pub text: TextSettings,
    /// Classifier-free guidance. 1 or less is none, as in diffusers, and halves the work: the negative
    /// prompt then has no effect.
    pub guidance: f64,
    /// Width and height in pixels; the model's own where not given.
    pub size: Option<[usize; 2]>,
    /// The image that is changed, in place of making one from noise.
    pub init: Option<InitImage>,
}

impl SamplingSettings {
    /// The sampler's steps for a model whose scheduler this is.
    ///
    /// # Errors
    /// Those of [`SamplerPlan::with_layout`] and [`SamplerPlan::from_image`].
    pub fn plan(&self, scheduler: &SchedulerConfig) -> Result<SamplerPlan, ScheduleError> {
        let plan = SamplerPlan::with_layout(self.sampler, scheduler, self.steps, self.layout)?;
        match &self.init {
            None => Ok(plan),
            Some(init) => plan.from_image(init.strength),
        }
    }
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            sampler: SamplerKind::DpmPlusPlus2M,
            steps: 25,
            layout: LevelLayout::default(),
            text: TextSettings::default(),
            guidance: 7.5,
            size: None,
            init: None,
        }
    }
}

/// The longest side of an image in pixels. Latents and activations of larger ones fit no machine.
const LONGEST_SIDE: usize = 16_384;

/// The sizes of the images that a model can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSizes {
    /// Width and height that the model was trained for, in pixels.
    pub side: usize,
    /// Width and height are multiples of it.
    pub unit: usize,
    /// Pixels per latent, in each direction.
    pub scale: usize,
    /// Channels of the latents.
    pub channels: usize,
}

impl ImageSizes {
    /// Width and height in pixels of an image of this size, or else of the model's own.
    ///
    /// # Errors
    /// If the model cannot make images of this size, or no machine can.
    pub fn pixels(&self, size: Option<[usize; 2]>) -> Result<[usize; 2]> {
        let Self { side, unit, .. } = *self;
        let [width, height] = size.unwrap_or([side; 2]);
        let refuse =
            |reason: String| Err(Error::Invalid(format!("size {width}x{height}: {reason}")));
        if [width, height].iter().any(|side| *side == 0 || !side.is_multiple_of(unit)) {
            return refuse(format!("width and height must be multiples of {unit} for this model"));
        }
        if width.max(height) > LONGEST_SIDE {
            return refuse(format!("width and height may be at most {LONGEST_SIDE}"));
        }
        Ok([width, height])
    }

    /// The shape of one image's latents, `[1, channels, height, width]`.
    ///
    /// # Errors
    /// Those of [`pixels`](Self::pixels).
    pub fn latent_shape(&self, size: Option<[usize; 2]>) -> Result<[usize; 4]> {
        let [width, height] = self.pixels(size)?;
        Ok([1, self.channels, height / self.scale, width / self.scale])
    }
}

/// One image that is asked for.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// The prompt; concepts are written `<id>`.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// Prompts for boxes of the image: left, top, right and bottom in pixels. All requests of a batch
    /// have the same boxes.
    pub regions: Vec<([usize; 4], String)>,
    /// The noise that it starts from.
    pub noise: Noise,
}

impl ImageRequest {
    /// Image number `number` of a seed.
    pub fn new(prompt: impl Into<String>, seed: u64, number: usize) -> Self {
        Self {
            prompt: prompt.into(),
            negative: String::new(),
            regions: Vec::new(),
            noise: Noise::of(seed, number),
        }
    }
}

/// The noise of one image, as a function of seeds.
#[derive(Debug, Clone)]
pub struct Noise {
    start: Start,
    /// What ancestral samplers draw in each step.
    steps: Seed,
    /// What is drawn from the latents that an image may be encoded to.
    posterior: Seed,
}

#[derive(Debug, Clone)]
enum Start {
    Drawn(Seed, u64),
    Given(TensorData),
}

impl Noise {
    /// That of image number `number` of a user's seed.
    pub fn of(seed: u64, number: usize) -> Self {
        let seed = Seed::new(seed);
        Self::drawn(&seed, seed.fork("latents"), number)
    }

    /// That of image number `number`, drawn from one seed and its fork `steps`.
    pub fn from_seed(seed: &Seed, number: usize) -> Self {
        Self::drawn(seed, seed.clone(), number)
    }

    fn drawn(seed: &Seed, start: Seed, number: usize) -> Self {
        let of_number = |purpose| seed.fork(purpose).fork(&number.to_string());
        let (steps, posterior) = (of_number("steps"), of_number("posterior"));
        Self { start: Start::Drawn(start, number as u64), steps, posterior }
    }

    /// The same, but starting from these latents `[1, channels, height, width]`.
    pub fn starting_from(self, latents: TensorData) -> Self {
        Self { start: Start::Given(latents), ..self }
    }

    fn latents<B: KernelBackend>(&self, shape: [usize; 4], device: &B::Device) -> Tensor<B, 4> {
        match &self.start {
            Start::Drawn(seed, counter) => normal(shape, &mut seed.at(*counter), device),
            Start::Given(data) => Tensor::from_data(data.clone(), device),
        }
    }
}

/// An image in 8-bit RGB, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes per pixel.
    pub rgb: Vec<u8>,
}

impl Image {
    /// One decoded image, `[1, 3, height, width]` in [−1, 1].
    ///
    /// # Errors
    /// [`Error::ImageNotFinite`].
    pub fn from_pixels<B: Backend>(pixels: Tensor<B, 4>) -> Result<Self> {
        let [_, _, height, width] = pixels.dims();
        let values: Vec<f32> = read::data(pixels.permute([0, 2, 3, 1])).iter::<f32>().collect();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::ImageNotFinite);
        }
        let byte = |x: f32| ((x.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
        Ok(Self { width, height, rgb: values.into_iter().map(byte).collect() })
    }
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

    /// The chunks of the longest prompt of an image: prompt, negative prompt and those of regions. All of
    /// them are filled up to it, and all images of a batch must have as many.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn chunks(&self, request: &ImageRequest, text: &TextSettings) -> Result<usize> {
        let regions = request.regions.iter().map(|(_, prompt)| prompt);
        let prompts = [&request.prompt, &request.negative].into_iter().chain(regions);
        let chunks = prompts.map(|prompt| Ok(self.read(prompt, text)?.chunks()));
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
            let latents = batch(&|noise| {
                let drawn = normal(shape, &mut noise.posterior.at(0), &device);
                posterior.mean.clone() + posterior.std.clone() * drawn
            });
            first = first + latents.mul_scalar(plan.init_signal);
        }
        let fresh =
            |step: usize| batch(&|noise| normal(shape, &mut noise.steps.at(step as u64), &device));
        let go_on = |step| progress(step) == Flow::Continue;
        let adapters = &self.composition.adapters;
        let latents = sample_from(self.model, adapters, &guidance, &plan, first, fresh, go_on);
        let Some(latents) = latents else { return Ok(None) };
        let decode = |number| {
            let latents = latents.clone().narrow(0, number, 1);
            Image::from_pixels(self.model.decode_latents(latents))
        };
        let images = (0..requests.len()).map(decode).collect::<Result<_>>()?;
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
        let chunks = requests.iter().map(|request| self.chunks(request, &settings.text));
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
        let negative = encode(&|request| &request.negative)?;
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (number, (corners, _)) in first.iter().enumerate() {
            let area = Area::new(*corners, size)?;
            positives.push((area, encode(&|request| &request.regions[number].1)?));
            negatives.push((area, negative.clone()));
        }
        Ok(Guidance {
            prompt: encode(&|request| &request.prompt)?.with_regions(positives).into(),
            negative: negative.with_regions(negatives).into(),
            scale: settings.guidance.max(1.0),
        })
    }
}
