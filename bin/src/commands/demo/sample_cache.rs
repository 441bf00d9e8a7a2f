//! Sampled images, cached as files so that an interrupted demo does not sample them again.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::{Guidance, SamplerKind, SamplerPlan, sample};
use burn_seqlora::error::Error;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::{DiffusionModel, LatentCodec};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::toy_world::pretrain::GUIDANCE;
use image::RgbImage;

use super::interrupted;
use super::progress::Progress;
use crate::commands::painter::Painter;
use crate::failure::Failure;
use crate::interrupt;
use crate::pictures::{all_to_rgb, read_png, write_png};
use crate::terminal::Terminal;

const SAMPLER: SamplerKind = SamplerKind::DpmPlusPlus2M;
const STEPS: usize = 20;

/// What a sampling step of one image costs, in gradients of a minibatch of two: both passes of
/// classifier-free guidance, forward only.
const STEP_COST: f64 = 0.45;

/// Samples images into folders. Image i of any list of prompts starts from the same noise, so images of
/// one prompt at different stages differ by the adapters alone.
pub struct SampleCache<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    plan: SamplerPlan,
    seed: Seed,
    terminal: &'a Terminal,
}

impl<'a, B: TrainBackend> SampleCache<'a, B> {
    /// A cache whose noise comes from this seed.
    pub fn new(
        model: &'a StableDiffusion<B>,
        seed: u64,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        let plan = SamplerPlan::new(SAMPLER, &model.config().scheduler, STEPS)?;
        Ok(Self { model, plan, seed: Seed::new(seed).fork("demo"), terminal })
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

    /// Samples one image per prompt into a folder.
    ///
    /// # Errors
    /// If a prompt cannot be encoded, an image cannot be written, or Ctrl-C interrupts it.
    pub fn sample(
        &self,
        folder: &Path,
        prompts: &[String],
        composition: &Composition<B::InnerBackend>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let images = self.images(prompts, composition, progress)?;
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        for ((file, image), prompt) in files(folder, prompts.len()).iter().zip(&images).zip(prompts)
        {
            write_png(file, image, prompt)?;
        }
        Ok(images)
    }

    fn images(
        &self,
        prompts: &[String],
        composition: &Composition<B::InnerBackend>,
        progress: &mut Progress,
    ) -> Result<Vec<RgbImage>, Failure> {
        let (model, count) = (self.model, prompts.len());
        let painter = Painter::new(model, composition);
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let guidance = Guidance {
            prompt: painter.encode(&prompts, self.terminal)?.into(),
            negative: painter.encode(&vec![""; count], self.terminal)?.into(),
            scale: GUIDANCE,
        };
        let side = model.resolution() / model.downscale();
        let shape = [1, model.latent_channels(), side, side];
        let device = DiffusionModel::device(model);
        let draw = |number| normal::<B, 4>(shape, &mut self.seed.at(number as u64), &device);
        let noise = Tensor::cat((0..count).map(draw).collect(), 0);
        let steps = self.seed.fork("steps");
        let fresh = |step: usize| {
            let draw = |n: usize| {
                normal::<B, 4>(shape, &mut steps.fork(&n.to_string()).at(step as u64), &device)
            };
            Tensor::cat((0..count).map(draw).collect(), 0)
        };
        let advance = |_| {
            progress.advance(STEP_COST * count as f64);
            !interrupt::requested()
        };
        let latents =
            sample(model, &painter.adapters, &guidance, &self.plan, noise, fresh, advance);
        Ok(all_to_rgb(model.decode_latents(latents.ok_or_else(interrupted)?))?)
    }
}

fn files(folder: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|number| folder.join(format!("{number}.png"))).collect()
}
