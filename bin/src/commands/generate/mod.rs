//! `seqlora generate`: everything that the command line says is checked before the model is loaded.

mod concepts;
mod init;
mod latents;
mod loras;
pub mod memory;
mod orders;
mod parameters;
mod settings;
mod strengths;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn_seqlora::FoundModel;
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::diffusion::{Area, ScheduleError};
use burn_seqlora::error::Error;
use burn_seqlora::files::check_target;
use burn_seqlora::fusion::{patched, read_patches};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::pipeline::{ImageRequest, Pipeline, SamplingSettings};
use burn_seqlora::precision::Precision;
use burn_seqlora::text::without_weights;
use serde_json::json;

use self::concepts::check_prompts;
pub use self::concepts::members;
use self::init::wrong_size;
use self::latents::{read_latents, write_latents};
use self::loras::LoadedLora;
use self::memory::Sampling;
use self::orders::{Order, orders, request};
use self::parameters::RunParameters;
use self::settings::{settings, warn_of_no_effect};
use super::{builtin, model};
use crate::args::{Compute, Generate};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::images::{numbered, to_rgb_image, write_numbered};
use crate::interrupt;
use crate::repeat;
use crate::terminal::Terminal;

/// Generates images.
pub fn run(args: &Generate, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let mut args = args.clone();
    let settings = settings(&args)?;
    let mut orders = orders(&args, compute.seed.unwrap_or(0))?;
    let strengths = strengths::take(texts_mut(&mut args, &mut orders))?;
    let args = &args;
    let bank = args.bank.as_deref().map(Bank::open).transpose()?;
    let mut members = members(&args.concept, bank.as_ref())?;
    strengths::apply(&strengths, &args.concept, &mut members)?;
    check_prompts(&texts(args, &orders), bank.as_ref(), &members, terminal)?;
    check_weights(&texts(args, &orders), &settings)?;
    check_strengths(args, &members)?;
    check_outputs(args)?;
    warn_of_no_effect(args, &settings, terminal);

    let loras = loras::read(&args.lora)?;
    let found = model::find(&args.model, terminal)?;
    let settings = init::with_image(args, settings, found.config().image_sizes(), terminal)?;
    let latents = check_model(args, &settings, &orders, &found, compute.device)?;
    let precision = compute.precision.unwrap_or_default();
    compute.device.run(Session {
        args,
        settings,
        orders,
        members,
        loras,
        found,
        latents,
        precision,
        terminal,
    })
}

/// Checks that the prompts can be read.
fn check_weights(prompts: &[&str], settings: &SamplingSettings) -> Result<(), Failure> {
    let wrong = |error| Failure::Usage(format!("{error}; --plain-prompts takes prompts literally"));
    prompts
        .iter()
        .try_for_each(|prompt| settings.text.syntax.parts(prompt).map(drop).map_err(wrong))
}

/// What is fused has its strengths.
fn check_strengths(args: &Generate, members: &[Member]) -> Result<(), Failure> {
    match members.iter().find(|member| args.fused.is_some() && member.scale != 1.0) {
        None => Ok(()),
        Some(Member { id, scale }) => Err(Failure::Usage(format!(
            "--concept {id}={scale} has no effect on what is fused already; give it to `seqlora fuse`"
        ))),
    }
}

/// All texts that the text encoder reads, each once if it comes in a row.
fn texts<'a>(args: &'a Generate, orders: &'a [Order]) -> Vec<&'a str> {
    let mut prompts: Vec<&str> = orders.iter().map(|order| order.prompt.as_str()).collect();
    prompts.dedup();
    let regions = args.region.iter().map(|region| region.prompt.as_str());
    prompts.into_iter().chain([&args.negative[..]]).chain(regions).collect()
}

/// The same, to be changed.
fn texts_mut<'a>(
    args: &'a mut Generate,
    orders: &'a mut [Order],
) -> impl Iterator<Item = &'a mut String> {
    let regions = args.region.iter_mut().map(|region| &mut region.prompt);
    orders.iter_mut().map(|order| &mut order.prompt).chain([&mut args.negative]).chain(regions)
}

/// Checks that images and latents can be written where they go.
fn check_outputs(args: &Generate) -> Result<(), Failure> {
    let exists = |folder: &&Path| folder.as_os_str().is_empty() || folder.exists();
    let nearest = args.out.ancestors().find(exists).unwrap_or(Path::new(""));
    if !nearest.as_os_str().is_empty() && !nearest.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(Error::io("cannot create", &args.out)(error).into());
    }
    check_target(&nearest.join("00000.png.check"))?;
    if let Some(file) = &args.save_latents {
        check_target(file)?;
    }
    Ok(())
}

/// Checks what the model's configs say about the images, and reads the latents that they start from.
fn check_model(
    args: &Generate,
    settings: &SamplingSettings,
    orders: &[Order],
    found: &FoundModel,
    device: Device,
) -> Result<Vec<Option<TensorData>>, Failure> {
    let config = found.config();
    let size = config.image_sizes().pixels(settings.size).map_err(wrong_size)?;
    let shape = config.image_sizes().latent_shape(settings.size).map_err(wrong_size)?;
    for region in &args.region {
        Area::new(region.corners, size).map_err(Failure::usage)?;
    }
    settings.plan(&config.scheduler).map_err(|error| match error {
        ScheduleError::Strength { .. } => Failure::usage(format!("--strength: {error}")),
        error => error.into(),
    })?;
    // The library's "clip skip 13: …" as the option that was given.
    let as_option = |error: Error| error.to_string().replacen("clip skip", "--clip-skip", 1);
    let wrong_layer = |error| Failure::Usage(as_option(error));
    let layers = config.text_encoder.num_hidden_layers;
    settings.text.layers(layers).map_err(wrong_layer)?;
    let files = [args.latents.is_some(), args.save_latents.is_some()];
    let kept = files.iter().filter(|kept| **kept).count() * orders.len();
    let batch = args.batch.min(orders.len());
    if device == Device::Cpu && !args.force {
        memory::check(config, Sampling { batch, latents: shape, kept })?;
    }
    let [_, channels, height, width] = shape;
    match &args.latents {
        Some(file) => {
            let all = read_latents(file, [orders.len(), channels, height, width])?;
            Ok(all.into_iter().map(Some).collect())
        }
        None => Ok(vec![None; orders.len()]),
    }
}

struct Session<'a> {
    args: &'a Generate,
    settings: SamplingSettings,
    orders: Vec<Order>,
    members: Vec<Member>,
    loras: Vec<LoadedLora>,
    found: FoundModel,
    latents: Vec<Option<TensorData>>,
    precision: Precision,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, settings, orders, members, terminal, .. } = &self;
        let (model, base) = model::load::<B>(&self.found, self.precision, &device)?;
        let model = loras::merge(model, &self.loras, terminal)?;
        repeat::warn_of_other_model(args, &base, terminal);
        let mut composition = match &args.bank {
            Some(path) => Composition::<B>::load(
                &Bank::open_for(path, &base)?,
                members,
                model.sites(),
                &device,
            )?,
            None => Composition::none(model.sites().len()),
        };
        if let Some(file) = &args.fused {
            composition.adapters = patched(&model, &read_patches(file, model.sites())?)?;
        }
        let pipeline = Pipeline::new(&model, composition);
        let side = model.resolution();
        warn(args, &pipeline, settings, &texts(args, orders), side, terminal)?;
        fs::create_dir_all(&args.out).map_err(Error::io("cannot create", &args.out))?;
        let sizes = self.found.config().image_sizes();
        let parameters = RunParameters {
            args,
            settings,
            precision: self.precision,
            size: sizes.pixels(settings.size)?,
            base: &base,
            members,
        };
        let mut made = Made::default();
        let sampled = self.sample(&pipeline, &parameters, &mut made);
        // What is there is kept, however it ended.
        if let Some(file) = &args.save_latents
            && !made.files.is_empty()
        {
            let [_, channels, height, width] = sizes.latent_shape(settings.size)?;
            write_latents(file, [made.files.len(), channels, height, width], &made.latents)?;
        }
        if let Ok(()) | Err(Failure::Interrupted(_)) = sampled {
            report(&made.files, orders, sampled.is_err(), terminal)?;
        }
        sampled
    }
}

/// The images of a run so far.
#[derive(Debug, Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The final latents of all of them, if they are to be saved.
    latents: Vec<f32>,
}

impl Session<'_> {
    /// Samples all images, and writes each as soon as it is there.
    fn sample<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        pipeline: &Pipeline<B, M>,
        parameters: &RunParameters,
        made: &mut Made,
    ) -> Result<(), Failure> {
        let Self { args, settings, orders, terminal, .. } = self;
        let requests: Vec<ImageRequest> = orders
            .iter()
            .zip(&self.latents)
            .map(|(order, latents)| request(args, order, latents.clone()))
            .collect();
        let _hold = interrupt::hold();
        let steps = settings.plan(&self.found.config().scheduler)?.steps.len();
        let bar = terminal.bar("generate", requests.len() * steps, "steps");
        let mut free = first_free(&args.out)?;
        for requests in batches(pipeline, &requests, args.batch, settings)? {
            let done = made.files.len();
            let progress = |step| {
                bar.set_position((done * steps + step * requests.len()) as u64);
                interrupt::flow()
            };
            let Some(sampled) = pipeline.sample(requests, settings, progress)? else {
                return Err(Failure::Interrupted(format!("stopped after {done} images")));
            };
            for (image, order) in sampled.images.into_iter().zip(&orders[done..]) {
                let (image, text) = (to_rgb_image(image), parameters.text(order));
                // Another process may write to the same folder.
                let taken = write_numbered(&args.out, free, &image, &text)?;
                made.files.push(numbered(&args.out, taken));
                free = taken + 1;
            }
            if args.save_latents.is_some() {
                made.latents.extend(sampled.latents.to_data().iter::<f32>());
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// Requests in batches of up to `most`, whose prompts have equally many chunks of tokens.
fn batches<'a, B: TrainBackend, M: DiffusionModel<B>>(
    pipeline: &Pipeline<B, M>,
    requests: &'a [ImageRequest],
    most: usize,
    settings: &SamplingSettings,
) -> Result<Vec<&'a [ImageRequest]>, Failure> {
    let mut batches = Vec::new();
    let (mut from, mut last) = (0, None);
    for (at, request) in requests.iter().enumerate() {
        let chunks = pipeline.chunks(request, &settings.text)?;
        if at > from && (at - from == most || last != Some(chunks)) {
            batches.push(&requests[from..at]);
            from = at;
        }
        last = Some(chunks);
    }
    batches.extend((from < requests.len()).then(|| &requests[from..]));
    Ok(batches)
}

fn report(
    files: &[PathBuf],
    orders: &[Order],
    interrupted: bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let image = |(file, order): (&PathBuf, &Order)| {
        let Order { prompt, seed, number } = order;
        json!({ "file": file.to_string_lossy(), "prompt": prompt, "seed": seed, "number": number })
    };
    let images: Vec<_> = files.iter().zip(orders).map(image).collect();
    let result = json!({ "version": 2, "images": images, "interrupted": interrupted });
    terminal.result(&result, || {
        files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n")
    })
}

/// Warns of prompts that do not fit, and of what the built-in model has not seen.
fn warn<B: TrainBackend, M: DiffusionModel<B>>(
    args: &Generate,
    pipeline: &Pipeline<B, M>,
    settings: &SamplingSettings,
    texts: &[&str],
    side: usize,
    terminal: &Terminal,
) -> Result<(), Failure> {
    for text in texts {
        let cut = pipeline.truncated(text, &settings.text)?;
        if cut > 0 {
            terminal.warning(format!("`{text}` is too long: its last {cut} tokens are left out"));
        }
    }
    let plain = |text: &&str| Ok(without_weights(&settings.text.syntax.parts(text)?));
    let plain = texts.iter().map(plain).collect::<Result<Vec<_>, Error>>()?;
    builtin::warn_of_words(&args.model.model, plain.iter().map(String::as_str), terminal);
    if let Some((width, height)) = args.size.filter(|size| *size != (side, side))
        && builtin::is_meant(&args.model.model)
    {
        terminal.warning(format!(
            "the built-in model was trained on images of {side}x{side}; \
             do not expect much of {width}x{height}"
        ));
    }
    Ok(())
}

/// Images in a folder are numbered below this.
const LARGEST_NUMBER: usize = 1 << 31;

/// The number after the greatest that an image in the folder has: nothing is written over.
fn first_free(folder: &Path) -> Result<usize, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let number = |path: PathBuf| {
        let image = path.extension().is_some_and(|extension| extension == "png");
        image.then(|| path.file_stem()?.to_str()?.parse::<usize>().ok()).flatten()
    };
    let numbers = entries.filter_map(|entry| number(entry.ok()?.path()));
    // Larger ones, such as dates, are no numbers of ours, and adding to them could overflow.
    let taken = numbers.filter(|number| *number < LARGEST_NUMBER).max();
    Ok(taken.map_or(0, |number| number + 1))
}
