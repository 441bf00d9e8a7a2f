//! Sampled images, cached as files so that an interrupted demo does not sample them again.

use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::Flow;
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::SamplerKind;
use burn_seqlora::error::Error;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{ImageRequest, Noise, Pipeline, SamplingSettings};
use burn_seqlora::rng::Seed;
use burn_seqlora::toy_world::pretrain::GUIDANCE;
use image::RgbImage;

use super::progress::Progress;
use crate::failure::Failure;
use crate::images::{read_png, to_rgb_image, write_png};
use crate::interrupt;

const SAMPLER: SamplerKind = SamplerKind::DpmPlusPlus2M;
const STEPS: usize = 12;

/// What a sampling step of one image costs, in gradients of a minibatch of two: both passes of
/// classifier-free guidance, forward only.
const STEP_COST: f64 = 0.45;

/// An image that is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt of the whole image.
    pub prompt: String,
    /// Prompts for boxes: left, top, right and bottom in pixels.
    pub regions: Vec<([usize; 4], String)>,
}

impl Request {
    /// One for each prompt.
    pub fn of(prompts: &[String]) -> Vec<Self> {
        let request = |prompt: &String| Self { prompt: prompt.clone(), regions: Vec::new() };
        prompts.iter().map(request).collect()
    }
}

/// Samples images into folders. Image i of any list of requests starts from the same noise, so images of
/// one prompt at different stages differ by the adapters alone.
pub struct SampleCache<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    seed: Seed,
}

impl<'a, B: TrainBackend> SampleCache<'a, B> {
    /// A cache whose noise comes from this seed.
    pub fn new(model: &'a StableDiffusion<B>, seed: u64) -> Self {
        Self { model, seed: Seed::new(seed).fork("demo") }
    }

    /// The sampler, its steps and the guidance scale.
    pub fn description() -> String {
        format!("{SAMPLER}, {STEPS} steps, guidance {GUIDANCE}")
    }

    /// What sampling so many images costs, in gradients.
    pub fn cost(images: usize) -> f64 {
        STEP_COST * (STEPS * images) as f64
    }

    /// The images of a folder, if all `count` of them are there.
    ///
    /// # Errors
    /// If one is damaged.
    pub fn stored(folder: &Path, count: usize) -> Result<Option<Vec<RgbImage>>, Failure> {
        let files = files(folder, count);
        if !files.iter().all(|file| file.exists()) {
            return Ok(None);
        }
        let images = files.iter().map(|file| Ok(read_png(file)?));
        images.collect::<Result<_, _>>().map(Some)
    }

    /// Samples one image per request into a folder.
    ///
    /// # Errors
    /// If a prompt cannot be encoded, an image cannot be written, or Ctrl-C interrupts it.
    pub fn sample(
        &self,
        folder: &Path,
        requests: &[Request],
        composition: &Composition<B>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let images = self.images(requests, composition, progress)?;
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let files = files(folder, requests.len());
        for ((file, image), request) in files.iter().zip(&images).zip(requests) {
            write_png(file, image, &request.prompt)?;
        }
        Ok(images)
    }

    fn images(
        &self,
        requests: &[Request],
        composition: &Composition<B>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let pipeline = Pipeline::new(self.model, composition.clone());
        let request = |(number, Request { prompt, regions }): (usize, &Request)| ImageRequest {
            noise: Noise::from_seed(&self.seed, number),
            regions: regions.clone(),
            ..ImageRequest::new(prompt, 0, number)
        };
        let requests: Vec<_> = requests.iter().enumerate().map(request).collect();
        let advance = |_| {
            progress.advance(STEP_COST * requests.len() as f64);
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        };
        let sampled = pipeline.sample(&requests, &settings(), advance)?;
        let images = sampled.ok_or_else(Failure::stopped_demo)?.images;
        Ok(images.into_iter().map(to_rgb_image).collect())
    }
}

/// How the demo samples.
fn settings() -> SamplingSettings {
    SamplingSettings {
        sampler: SAMPLER,
        steps: STEPS,
        guidance: GUIDANCE,
        ..SamplingSettings::default()
    }
}

fn files(folder: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|number| folder.join(format!("{number}.png"))).collect()
}
