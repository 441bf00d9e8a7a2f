//! Generated pictures, kept as files so that an interrupted demo does not paint them again.

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

/// What a sampling step of one picture costs, in gradients of a minibatch of two: both halves of the
/// guidance, forward only.
const STEP_COST: f64 = 0.45;

/// Paints pictures. Picture number i of any prompts starts from the same noise, so pictures of one
/// prompt at different times differ by the adapters alone.
pub struct Studio<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    plan: SamplerPlan,
    seed: Seed,
    terminal: &'a Terminal,
}

impl<'a, B: TrainBackend> Studio<'a, B> {
    /// A studio with this seed.
    pub fn new(
        model: &'a StableDiffusion<B>,
        seed: u64,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        let plan = SamplerPlan::new(SAMPLER, &model.config().scheduler, STEPS)?;
        Ok(Self { model, plan, seed: Seed::new(seed).fork("demo"), terminal })
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
        composition: &Composition<B::InnerBackend>,
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
