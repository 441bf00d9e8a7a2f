//! `seqlora pretrain`: trains a small base model from scratch on the toy world.

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::kernels::{KernelBackend, TrainBackend};
use burn_seqlora::models::StableDiffusionConfig;
use burn_seqlora::toy_world::classifier::AttributeAccuracy;
use burn_seqlora::toy_world::pretrain::classification::ClassifierReport;
use burn_seqlora::toy_world::pretrain::{
    Event, GUIDANCE, GenerationReport, PretrainConfig, Pretraining, Progress, SIDE, Sampling,
};
use burn_seqlora::toy_world::to_pixels;
use burn_seqlora::toy_world::world::{Scene, SceneOptions, Seed, Split};
use burn_seqlora::train::Flow;
use clap::ValueEnum as _;
use serde_json::json;

use super::builtin;
use crate::args::{Compute, Part, Pretrain};
use crate::device::Job;
use crate::failure::Failure;
use crate::images::{all_to_rgb, contact_sheet, write_png};
use crate::interrupt;
use crate::progress::ProgressBar;
use crate::settings;
use crate::terminal::Terminal;

/// Trains the selected parts in order.
pub fn run(args: &Pretrain, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let mut config: PretrainConfig = match &args.config {
        Some(file) => settings::read(file)?,
        None => PretrainConfig::default(),
    };
    config.seed = compute.seed.unwrap_or(config.seed);
    config.precision = compute.precision.unwrap_or(config.precision);
    config.validate().map_err(Failure::usage)?;
    let has_begun = |part: &Part| Pretraining::has_begun(&args.out, &name(*part));
    if let Some(part) = parts(args).into_iter().find(has_begun).filter(|_| !args.resume) {
        let text = format!(
            "{} already holds a training of the {}; use --resume or another --out",
            args.out.display(),
            name(part)
        );
        return Err(Failure::Usage(text));
    }
    if args.from.is_some() && !resumes_from(args) && args.out.join("model").exists() {
        let text = format!(
            "{} already holds a model, which --from would overwrite; use another --out",
            args.out.display()
        );
        return Err(Failure::Usage(text));
    }
    compute.device.run(Session { args, config, terminal })
}

/// Whether the weights of `--from` are already in the folder, so that they must not be copied
/// again.
fn resumes_from(args: &Pretrain) -> bool {
    args.resume && Pretraining::has_source(&args.out)
}

/// The selected parts, or all, in the order of training.
fn parts(args: &Pretrain) -> Vec<Part> {
    let all = Part::value_variants().iter().copied();
    all.filter(|part| args.part.is_empty() || args.part.contains(part)).collect()
}

fn name(part: Part) -> String {
    part.to_possible_value().expect("every part has a name").get_name().to_string()
}

struct Session<'a> {
    args: &'a Pretrain,
    config: PretrainConfig,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Pretrain { out, from, .. } = self.args;
        let pretraining = match from {
            Some(from) if !resumes_from(self.args) => {
                Pretraining::open_from(out, self.config.clone(), &builtin::resolve(from)?)?
            }
            _ => Pretraining::open(out, self.config.clone())?,
        };
        let _hold = interrupt::hold();
        for part in parts(self.args) {
            match part {
                Part::Classifier => self.classifier::<B>(&pretraining, &device)?,
                Part::Autoencoder => self.autoencoder::<B>(&pretraining, &device)?,
                Part::TextEncoder => self.text_encoder::<B>(&pretraining, &device)?,
                Part::Denoiser => self.denoiser::<B>(&pretraining, &device)?,
                Part::Card => self.card::<B>(&pretraining, &device)?,
            }
        }
        let model = pretraining.model();
        self.terminal
            .result(&json!({ "model": model.to_string_lossy() }), || model.display().to_string())
    }
}

impl Session<'_> {
    fn autoencoder<B: TrainBackend>(
        &self,
        pretraining: &Pretraining,
        device: &B::Device,
    ) -> Result<(), Failure> {
        let bar = self.terminal.bar("autoencoder", self.config.autoencoder.steps, "steps");
        let task = pretraining.autoencoding();
        let fidelity = pretraining.train_autoencoder::<B>(device, |event| match event {
            Event::Step(progress) => advance(&bar, progress),
            Event::Preview { step, module } => {
                use burn_seqlora::model::LatentCodec;
                let scenes: Vec<Scene> = (0..8).map(|i| task.scene(u64::MAX - i)).collect();
                let vae = module.valid();
                let pixels = to_pixels(&scenes, SIDE, device);
                let decoded = vae.decode_latents(vae.encode_image(pixels.clone()).mean);
                self.preview("autoencoder", step, &[pixels, decoded])
            }
        })?;
        bar.finish_and_clear();
        let fidelity = fidelity.ok_or_else(Failure::stopped)?;
        self.terminal.line(
            "autoencoder",
            format!("PSNR {:.1} dB, RMS of latents {:.3}", fidelity.psnr, fidelity.latent_std),
        );
        if let Some(report) = pretraining.measure_reconstructions::<B::InnerBackend>(device)? {
            self.terminal.line("after VAE", recognised(&report));
        }
        Ok(())
    }

    fn text_encoder<B: TrainBackend>(
        &self,
        pretraining: &Pretraining,
        device: &B::Device,
    ) -> Result<(), Failure> {
        let bar = self.terminal.bar("text encoder", self.config.text_encoder.steps, "steps");
        let finished = pretraining.train_text_encoder::<B>(device, |event| match event {
            Event::Step(progress) => advance(&bar, progress),
            Event::Preview { .. } => Flow::Continue,
        })?;
        bar.finish_and_clear();
        if finished { Ok(()) } else { Err(Failure::stopped()) }
    }

    fn denoiser<B: TrainBackend>(
        &self,
        pretraining: &Pretraining,
        device: &B::Device,
    ) -> Result<(), Failure> {
        let bar = self.terminal.bar("denoiser", self.config.denoiser.steps, "steps");
        let task = pretraining.denoising_with_cache::<B>(device)?;
        let scheduler = StableDiffusionConfig::read(&pretraining.model())?.scheduler;
        let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &scheduler, PREVIEW_STEPS)?;
        let seed = task.seed.fork("preview");
        let sampling = Sampling { plan, guidance: GUIDANCE, seed };
        let captions: Vec<String> = (0..PREVIEWS).map(caption).collect();
        let finished = pretraining.train_denoiser::<B>(&task, device, |event| match event {
            Event::Step(progress) => advance(&bar, progress),
            Event::Preview { step, module } => {
                let images = task.generate(&module.valid(), &captions, &sampling);
                if let Err(error) = pretraining.save_denoiser(module) {
                    self.terminal.warning(error);
                }
                match images {
                    Ok(images) => self.preview("denoiser", step, &rows(images)),
                    Err(error) => {
                        self.terminal.warning(error);
                        Flow::Continue
                    }
                }
            }
        })?;
        bar.finish_and_clear();
        if finished { Ok(()) } else { Err(Failure::stopped()) }
    }

    fn classifier<B: TrainBackend>(
        &self,
        pretraining: &Pretraining,
        device: &B::Device,
    ) -> Result<(), Failure> {
        let bar = self.terminal.bar("classifier", self.config.classifier.steps, "steps");
        let report = pretraining.train_classifier::<B>(device, |event| match event {
            Event::Step(progress) => advance(&bar, progress),
            Event::Preview { .. } => Flow::Continue,
        })?;
        bar.finish_and_clear();
        let report = report.ok_or_else(Failure::stopped)?;
        self.terminal.line("renders", recognised(&report));
        Ok(())
    }

    fn card<B: TrainBackend>(
        &self,
        pretraining: &Pretraining,
        device: &B::Device,
    ) -> Result<(), Failure> {
        let bar = self.terminal.bar("card", 2 * CAPTIONS, "images");
        let card = pretraining.write_card::<B>(CAPTIONS, device, |images| {
            bar.set_position(images as u64);
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        })?;
        bar.finish_and_clear();
        let GenerationReport { one_object, two_objects, renders, .. } = card
            .ok_or_else(|| Failure::Interrupted("stopped; nothing was written".into()))?
            .generation;
        for (label, accuracy) in [
            ("one object", &one_object.images),
            ("two objects, both", &two_objects.images),
            ("two objects, each", &two_objects.objects),
            ("renders, each", &renders.objects),
        ] {
            self.terminal.line(label, attributes(accuracy));
        }
        Ok(())
    }

    /// Saves images in rows. If the file cannot be written, the training goes on with a warning.
    fn preview<B: KernelBackend>(&self, part: &str, step: usize, rows: &[Tensor<B, 4>]) -> Flow {
        let file = self.args.out.join("training").join(part).join(format!("preview-{step:06}.png"));
        let save = || -> Result<(), Failure> {
            let rows: Vec<_> =
                rows.iter().map(|row| all_to_rgb(row.clone())).collect::<Result<_, _>>()?;
            Ok(write_png(&file, &contact_sheet(&rows), &format!("{part}, step {step}"))?)
        };
        if let Err(error) = save() {
            self.terminal.warning(format!("{}: {error}", file.display()));
        }
        Flow::Continue
    }
}

fn recognised(report: &ClassifierReport) -> String {
    format!(
        "{}; individuals {}, within a class {}, cosine {:.3}",
        attributes(&report.accuracy),
        percent(Some(report.identity)),
        percent(Some(report.within_class)),
        report.own_cosine,
    )
}

fn attributes(accuracy: &AttributeAccuracy) -> String {
    let AttributeAccuracy {
        class,
        main,
        second,
        third,
        marking,
        marked,
        variant,
        relation,
        background,
    } = *accuracy;
    let named = [
        ("class", class),
        ("main colour", main),
        ("second", second),
        ("third", third),
        ("marking", marking),
        ("its colour", marked),
        ("variant", variant),
        ("relation", relation),
        ("background", background),
    ];
    named.map(|(name, share)| format!("{name} {}", percent(share))).join(", ")
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// The number of captions of one object, and of captions of two, that a model is measured on.
const CAPTIONS: usize = 250;

/// The number of images in a preview of the denoiser.
const PREVIEWS: u64 = 32;
const PREVIEW_STEPS: usize = 25;

/// The caption of a held-out scene.
fn caption(index: u64) -> String {
    let seed = Seed::new(0).fork("preview");
    let options = SceneOptions { split: Split::HeldOut, pair_probability: 0.5 };
    Scene::random(&seed, index, &options).caption(&mut seed.fork("caption").at(index))
}

fn rows<B: KernelBackend>(images: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
    images.split(8, 0)
}

fn advance(bar: &ProgressBar, progress: &Progress) -> Flow {
    bar.set_message(format!(
        "loss {:.4}  |g| {:.2}  lr {:.1e}  {:.2} s/step",
        progress.loss, progress.gradient_norm, progress.lr, progress.seconds
    ));
    bar.set_position(progress.step as u64);
    if interrupt::requested() { Flow::Stop } else { Flow::Continue }
}
