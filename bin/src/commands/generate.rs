//! `seqlora generate`

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn_seqlora::Flow;
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::diffusion::Area;
use burn_seqlora::error::Error;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::pipeline::{ImageRequest, Noise, Pipeline, SamplingSettings};
use burn_seqlora::precision::Precision;
use burn_seqlora::text::next_placeholder;
use serde_json::json;

use super::latents::{read_latents, write_latents};
use super::{builtin, model};
use crate::args::{Generate, Global, Region};
use crate::device::Job;
use crate::failure::Failure;
use crate::images::{numbered, to_rgb_image, write_numbered};
use crate::interrupt;
use crate::terminal::Terminal;

/// Generates images.
pub fn run(args: &Generate, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    for (name, count) in [("--num", args.num), ("--batch", args.batch)] {
        if count == 0 {
            return Err(Failure::Usage(format!("{name} must be at least 1")));
        }
    }
    let guidance = args.guidance.unwrap_or_else(|| builtin::usual_guidance(&args.model.model));
    if !guidance.is_finite() {
        return Err(Failure::Usage(format!("--guidance {guidance} is no number")));
    }
    let size = args.size.map(|(width, height)| [width, height]);
    let Generate { sampler, steps, .. } = *args;
    let settings = SamplingSettings { sampler, steps, guidance, size };
    let precision = global.precision.unwrap_or_default();
    let orders = orders(args, global.seed.unwrap_or(0))?;
    global.device.run(Session { args, settings, orders, precision, terminal })
}

/// An image that is asked for: whose prompt, seed and number it has.
#[derive(Debug, Clone)]
struct Order {
    prompt: String,
    seed: u64,
    number: usize,
}

/// All images, prompt by prompt and seed by seed.
fn orders(args: &Generate, seed: u64) -> Result<Vec<Order>, Failure> {
    let mut prompts = args.prompt.clone();
    if let Some(file) = &args.prompts {
        let text = fs::read_to_string(file)
            .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", file.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        prompts.extend(lines.map(String::from));
    }
    if prompts.is_empty() {
        return Err(Failure::Usage("--prompts: the file holds no prompt".into()));
    }
    let seeds = if args.seeds.is_empty() { vec![seed] } else { args.seeds.clone() };
    let numbers = if args.image.is_empty() { (0..args.num).collect() } else { args.image.clone() };
    let mut orders = Vec::new();
    for prompt in prompts {
        for seed in &seeds {
            let order =
                |number: &usize| Order { prompt: prompt.clone(), seed: *seed, number: *number };
            orders.extend(numbers.iter().map(order));
        }
    }
    Ok(orders)
}

struct Session<'a> {
    args: &'a Generate,
    settings: SamplingSettings,
    orders: Vec<Order>,
    precision: Precision,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, settings, orders, precision, terminal } = self;
        let (model, base) = model::open::<B>(&args.model, precision, &device, terminal)?;
        let sites = model.sites();
        let composition = match &args.bank {
            Some(path) => {
                let bank = Bank::open_for(path, &base)?;
                let members = members(&args.concept, &bank)?;
                Composition::<B>::load(&bank, &members, sites, &device)?
            }
            None if args.concept.is_empty() => Composition::none(sites.len()),
            None => return Err(Failure::Usage("--concept needs --bank".into())),
        };
        let pipeline = Pipeline::new(&model, composition);
        let [_, channels, height, width] = pipeline.latent_shape(&settings).map_err(size_usage)?;
        let size = settings.size.unwrap_or([model.resolution(); 2]);
        for region in &args.region {
            Area::new(region.corners, size).map_err(|e| Failure::Usage(e.to_string()))?;
        }
        warn(args, &pipeline, &orders, model.resolution(), terminal)?;
        let shape = [orders.len(), channels, height, width];
        let latents = match &args.latents {
            Some(file) => read_latents(file, shape)?.into_iter().map(Some).collect(),
            None => vec![None; orders.len()],
        };
        let requests: Vec<ImageRequest> = orders
            .iter()
            .zip(latents)
            .map(|(order, latents)| request(args, order, latents))
            .collect();
        fs::create_dir_all(&args.out).map_err(Error::io("cannot create", &args.out))?;

        let bar = terminal.bar("generate", requests.len() * settings.steps, "steps");
        let (mut files, mut finals) = (Vec::new(), Vec::new());
        let mut free = first_free(&args.out)?;
        for requests in requests.chunks(args.batch) {
            let done = files.len();
            let progress = |step| {
                bar.set_position((done * settings.steps + step * requests.len()) as u64);
                if interrupt::requested() { Flow::Stop } else { Flow::Continue }
            };
            let Some(sampled) = pipeline.sample(requests, &settings, progress)? else {
                return Err(Failure::Interrupted(format!("stopped after {done} images")));
            };
            for (image, order) in sampled.images.into_iter().zip(&orders[done..]) {
                let image = to_rgb_image(image);
                let text = parameters(args, &settings, order);
                // Another process may write to the same folder.
                let taken = write_numbered(&args.out, free, &image, &text)?;
                files.push(numbered(&args.out, taken));
                free = taken + 1;
            }
            finals.extend(sampled.latents.to_data().iter::<f32>());
        }
        bar.finish_and_clear();
        if let Some(file) = &args.save_latents {
            write_latents(file, shape, &finals)?;
        }
        report(&files, &orders, terminal)
    }
}

fn request(args: &Generate, order: &Order, latents: Option<TensorData>) -> ImageRequest {
    let noise = Noise::of(order.seed, order.number);
    let regions = args.region.iter().map(|region| (region.corners, region.prompt.clone()));
    ImageRequest {
        prompt: order.prompt.clone(),
        negative: args.negative.clone(),
        regions: regions.collect(),
        noise: match latents {
            Some(latents) => noise.starting_from(latents),
            None => noise,
        },
    }
}

fn report(files: &[PathBuf], orders: &[Order], terminal: &Terminal) -> Result<(), Failure> {
    let image = |(file, order): (&PathBuf, &Order)| {
        let Order { prompt, seed, number } = order;
        json!({ "file": file, "prompt": prompt, "seed": seed, "number": number })
    };
    let images: Vec<_> = files.iter().zip(orders).map(image).collect();
    terminal.result(&json!({ "version": 2, "images": images }), || {
        files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n")
    })
}

/// Warns of prompts that do not fit, and of what the built-in model has not seen.
fn warn<B: TrainBackend, M: DiffusionModel<B>>(
    args: &Generate,
    pipeline: &Pipeline<B, M>,
    orders: &[Order],
    side: usize,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let mut prompts: Vec<&str> = orders.iter().map(|order| order.prompt.as_str()).collect();
    prompts.dedup();
    let regions = args.region.iter().map(|region| region.prompt.as_str());
    let texts: Vec<&str> = prompts.into_iter().chain([&args.negative[..]]).chain(regions).collect();
    for text in &texts {
        let cut = pipeline.truncated(text)?;
        if cut > 0 {
            terminal.warning(format!("`{text}` is too long: its last {cut} tokens are left out"));
        }
    }
    builtin::warn_of_words(&args.model.model, texts, terminal);
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

/// The pipeline's "size 50x64: …" as the option that was given.
fn size_usage(error: Error) -> Failure {
    Failure::Usage(format!("--{error}"))
}

/// The number after the greatest that an image in the folder has: nothing is written over.
fn first_free(folder: &Path) -> Result<usize, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let number = |path: PathBuf| {
        let image = path.extension().is_some_and(|extension| extension == "png");
        image.then(|| path.file_stem()?.to_str()?.parse::<usize>().ok()).flatten()
    };
    let taken = entries.filter_map(|entry| number(entry.ok()?.path())).max();
    Ok(taken.map_or(0, |number| number + 1))
}

/// The concepts that were asked for, or all of the bank.
fn members(concepts: &[String], bank: &Bank) -> Result<Vec<Member>, Failure> {
    if concepts.is_empty() {
        return Ok(bank.concepts().iter().map(Member::new).collect());
    }
    let parse = |text: &String| {
        let (id, scale) = text.split_once('=').unwrap_or((text, "1"));
        let scale = scale.parse().ok().filter(|s: &f64| s.is_finite()).ok_or_else(|| {
            Failure::Usage(format!("--concept {text}: `{scale}` is no number; use ID or ID=0.8"))
        })?;
        let id = next_placeholder(id).map_or(id, |(_, id, _)| id);
        Ok(Member { id: id.to_string(), scale })
    };
    concepts.iter().map(parse).collect()
}

/// The settings of an image in the form that A1111 and its kin read.
fn parameters(args: &Generate, settings: &SamplingSettings, order: &Order) -> String {
    let region = |Region { corners: [x0, y0, x1, y1], prompt }: &Region| {
        format!(", Region: {:?}", format!("{x0},{y0},{x1},{y1}:{prompt}"))
    };
    format!(
        "{}\nNegative prompt: {}\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Number: {}{}",
        order.prompt,
        args.negative,
        settings.steps,
        settings.sampler,
        settings.guidance,
        order.seed,
        order.number,
        args.region.iter().map(region).collect::<String>()
    )
}
