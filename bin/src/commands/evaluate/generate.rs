//! The first stage: images that are not there yet.

use std::ops::Range;

use burn_seqlora::Flow;
use burn_seqlora::FoundModel;
use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::diffusion::SamplerPlan;
use burn_seqlora::error::Error;
use burn_seqlora::eval::protocol::{ImageGroup, MethodPlan, PlannedImage, Protocol, Stage};
use burn_seqlora::eval::store::ImageState;
use burn_seqlora::fusion::patched;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{Image, ImageRequest, Pipeline, SamplingSettings};

use super::methods::{Method, Source};
use super::session::Session;
use crate::commands::{fused, model};
use crate::failure::Failure;
use crate::images::{encode_png, to_rgb_image};
use crate::progress::ProgressBar;

/// Images that are sampled together: a group, and a part of it. They are the same in every run, whatever is
/// there already, because rounding depends on them.
pub type Batch = (usize, Range<usize>);

/// Checks that the model can sample as the protocol says.
pub fn check_sampling(protocol: &Protocol, found: &FoundModel) -> Result<(), Failure> {
    let sampling = &protocol.sampling;
    SamplerPlan::new(sampling.sampler, &found.config().scheduler, sampling.steps)?;
    Ok(())
}

impl Session<'_> {
    /// The batches of this part of which an image is missing.
    pub fn to_generate(&self) -> Result<Vec<Batch>, Failure> {
        let mut todo = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            if self.is_foreign(group) || !self.shard().has(number) {
                continue;
            }
            for start in (0..group.images.len()).step_by(self.args.batch) {
                let range = start..(start + self.args.batch).min(group.images.len());
                let mut missing = false;
                for image in &group.images[range.clone()] {
                    missing |= self.run.state(&image.key)? == ImageState::Missing;
                }
                if missing {
                    todo.push((number, range));
                }
            }
        }
        Ok(todo)
    }

    fn is_foreign(&self, group: &ImageGroup) -> bool {
        group.method.is_some_and(|method| matches!(self.methods[method].source, Source::Images(_)))
    }

    /// Samples these batches; each image is written as soon as its batch is there.
    pub fn generate<B: TrainBackend>(
        &self,
        todo: &[Batch],
        device: &B::Device,
    ) -> Result<(), Failure> {
        let terminal = self.terminal;
        let images: usize = todo.iter().map(|(_, range)| range.len()).sum();
        if images == 0 {
            terminal.line("generate", "every image is there");
            return Ok(());
        }
        let text = format!("{images} images into {}", self.args.out.display());
        terminal.line("generate", text);
        let found = self.found.as_ref().expect("banks come with a base model");
        let (model, base) = model::load::<B>(found, self.record.precision, device)?;
        let steps = self.protocol().sampling.steps;
        let bar = terminal.bar("generate", images * steps, "steps");
        let (mut pipeline, mut loaded) = (None, None);
        for (number, range) in todo {
            let group = &self.groups[*number];
            let state = (group.method, group.stage);
            // Groups of one model follow each other.
            if loaded != Some(state) {
                drop(pipeline.take());
                let composition = self.composition(&model, &base, state, device)?;
                (pipeline, loaded) = (Some(Pipeline::new(&model, composition)), Some(state));
            }
            let pipeline = pipeline.as_ref().expect("it was just made");
            self.batch(pipeline, &group.images[range.clone()], &bar)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The concepts of a stage on the model.
    fn composition<B: TrainBackend>(
        &self,
        model: &StableDiffusion<B>,
        base: &BaseModel,
        (method, stage): (Option<usize>, Stage),
        device: &B::Device,
    ) -> Result<Composition<B>, Failure> {
        let Some(Method { plan, source: Source::Bank { path, order, fused } }) =
            method.map(|method| &self.methods[method])
        else {
            return Ok(Composition::none(model.sites().len()));
        };
        let bank = Bank::open_for(path, base)?;
        let members = members(plan, order, stage);
        let mut composition = Composition::load(&bank, &members, model.sites(), device)?;
        if let Some(file) = fused {
            let (sites, bank) = (model.sites(), Some(&bank));
            let patches = fused::read(file, sites, base, bank, &members, self.terminal)?;
            composition.adapters = patched(model, &patches)?;
        }
        Ok(composition)
    }

    /// Samples a batch. An image whose numbers are not finite is noted as failed.
    fn batch<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        pipeline: &Pipeline<B, M>,
        images: &[PlannedImage],
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let before = bar.position();
        match self.sample(pipeline, images, bar) {
            Ok(sampled) => {
                images
                    .iter()
                    .zip(sampled)
                    .try_for_each(|(image, pixels)| self.write(image, pixels))?;
            }
            Err(Failure::Failed(error)) if is_not_finite(error.as_ref()) => match images {
                [image] => {
                    self.run.add_failure(&image.key, &error.to_string())?;
                    let text = format!("`{}`, seed {}: {error}", image.prompt, image.seed);
                    bar.suspend(|| self.terminal.warning(text));
                }
                // One of them spoils the batch; the others are made alone.
                images => {
                    for image in images {
                        self.batch(pipeline, std::slice::from_ref(image), bar)?;
                    }
                }
            },
            Err(error) => return Err(error),
        }
        bar.set_position(before + (images.len() * self.protocol().sampling.steps) as u64);
        Ok(())
    }

    fn sample<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        pipeline: &Pipeline<B, M>,
        images: &[PlannedImage],
        bar: &ProgressBar,
    ) -> Result<Vec<Image>, Failure> {
        let sampling = &self.protocol().sampling;
        let settings = SamplingSettings {
            sampler: sampling.sampler,
            steps: sampling.steps,
            guidance: sampling.guidance,
            size: sampling.size,
            ..SamplingSettings::default()
        };
        let request = |image: &PlannedImage| ImageRequest {
            negative: sampling.negative.clone(),
            regions: image.regions.clone(),
            ..ImageRequest::new(&image.prompt, image.seed, 0)
        };
        let requests: Vec<ImageRequest> = images.iter().map(request).collect();
        let advance = |_| {
            bar.inc(images.len() as u64);
            Flow::Continue
        };
        let sampled = pipeline.sample(&requests, &settings, advance)?;
        Ok(sampled.expect("nothing stops it").images)
    }

    fn write(&self, image: &PlannedImage, pixels: Image) -> Result<(), Failure> {
        let sampling = &self.protocol().sampling;
        let [width, height] = self.record.size;
        let parameters = format!(
            "{}\nNegative prompt: {}\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {width}x{height}",
            image.prompt,
            sampling.negative,
            sampling.steps,
            sampling.sampler,
            sampling.guidance,
            image.seed
        );
        let png = encode_png(&to_rgb_image(pixels), &parameters);
        let png = png.map_err(Error::io("cannot encode", self.run.path()))?;
        Ok(self.run.add_image(&image.key, &png)?)
    }
}

/// The concepts of a stage at their trained strength. A fused model has the words of all.
fn members(plan: &MethodPlan, order: &[String], stage: Stage) -> Vec<Member> {
    let count = match stage {
        Stage::Base => 0,
        Stage::First(count) => count,
        Stage::All => plan.concepts(),
    };
    order[..count].iter().map(Member::new).collect()
}

fn is_not_finite(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(Error::ImageNotFinite))
}
