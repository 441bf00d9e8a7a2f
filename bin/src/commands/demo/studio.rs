//! Generated pictures, kept as files so that an interrupted demo does not paint them again.

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

use super::interrupted;
use super::progress::Progress;
use crate::failure::Failure;
use crate::images::{read_png, to_rgb_image, write_png};
use crate::interrupt;

const SAMPLER: SamplerKind = SamplerKind::DpmPlusPlus2M;
const STEPS: usize = 20;

/// What a sampling step of one picture costs, in gradients of a minibatch of two: both halves of the
/// guidance, forward only.
const STEP_COST: f64 = 0.45;

/// Paints pictures. Picture number i of any prompts starts from the same noise, so pictures of one
/// prompt at different times differ by the adapters alone.
pub struct Studio<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    seed: Seed,
}

impl<'a, B: TrainBackend> Studio<'a, B> {
    /// A studio with this seed.
    pub fn new(model: &'a StableDiffusion<B>, seed: u64) -> Self {
        Self { model, seed: Seed::new(seed).fork("demo") }
    }

    /// How it paints.
    pub fn description() -> String {
        format!("{SAMPLER}, {STEPS} steps, guidance {GUIDANCE}")
    }

    /// What so many pictures cost.
    pub fn cost(pictures: usize) -> f64 {
        STEP_COST * (STEPS * pictures) as f64
    }

    /// The pictures of a folder, if all `count` of them are there.
    ///
    /// # Errors
    /// If one is damaged.
    pub fn stored(folder: &Path, count: usize) -> Result<Option<Vec<RgbImage>>, Failure> {
        let files = files(folder, count);
        if !files.iter().all(|file| file.exists()) {
            return Ok(None);
        }
        let pictures = files.iter().map(|file| Ok(read_png(file)?));
        pictures.collect::<Result<_, _>>().map(Some)
    }

    /// Paints one picture per prompt into a folder.
    pub fn paint(
        &self,
        folder: &Path,
        prompts: &[String],
        composition: &Composition<B>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let pictures = self.pictures(prompts, composition, progress)?;
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        for ((file, picture), prompt) in
            files(folder, prompts.len()).iter().zip(&pictures).zip(prompts)
        {
            write_png(file, picture, prompt)?;
        }
        Ok(pictures)
    }

    fn pictures(
        &self,
        prompts: &[String],
        composition: &Composition<B>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let pipeline = Pipeline::new(self.model, composition.clone());
        let request = |(number, prompt): (usize, &String)| ImageRequest {
            noise: Noise::from_seed(&self.seed, number),
            ..ImageRequest::new(prompt, 0, number)
        };
        let requests: Vec<_> = prompts.iter().enumerate().map(request).collect();
        let advance = |_| {
            progress.advance(STEP_COST * prompts.len() as f64);
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        };
        let sampled = pipeline.sample(&requests, &settings(), advance)?;
        let images = sampled.ok_or_else(interrupted)?.images;
        Ok(images.into_iter().map(to_rgb_image).collect())
    }
}

/// How the demo samples.
fn settings() -> SamplingSettings {
    SamplingSettings { sampler: SAMPLER, steps: STEPS, guidance: GUIDANCE, size: None }
}

fn files(folder: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|number| folder.join(format!("{number}.png"))).collect()
}
