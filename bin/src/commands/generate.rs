//! `seqlora generate`

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::diffusion::{SamplerPlan, sample};
use burn_seqlora::error::Error;
use burn_seqlora::files::write_atomic;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::{DiffusionModel, LatentCodec};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::precision::Precision;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::text::next_placeholder;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;

use super::painter::Painter;
use super::{builtin, model};
use crate::args::{Generate, Global, Region};
use crate::device::Job;
use crate::failure::Failure;
use crate::interrupt;
use crate::pictures::{numbered, to_rgb, write_numbered};
use crate::terminal::Terminal;

/// Generates pictures.
pub fn run(args: &Generate, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    if args.num == 0 {
        return Err(Failure::Usage("--num must be at least 1".into()));
    }
    let scale = args.guidance.unwrap_or_else(|| builtin::usual_guidance(&args.model.model));
    if !scale.is_finite() {
        return Err(Failure::Usage(format!("--guidance {scale} is no number")));
    }
    let precision = global.precision.unwrap_or_default();
    let seed = global.seed.unwrap_or(0);
    global.device.run(Session { args, scale, seed, precision, terminal })
}

struct Session<'a> {
    args: &'a Generate,
    /// Of classifier-free guidance.
    scale: f64,
    seed: u64,
    precision: Precision,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, scale, seed, precision, terminal } = self;
        let (model, base) = model::open::<B>(&args.model, precision, &device, terminal)?;
        let composition = match &args.bank {
            Some(path) => {
                let bank = Bank::open_for(path, &base)?;
                let members = members(&args.concept, &bank)?;
                Composition::<B::InnerBackend>::load(&bank, &members, model.sites(), &device)?
            }
            None if args.concept.is_empty() => Composition::none(model.sites().len()),
            None => return Err(Failure::Usage("--concept needs --bank".into())),
        };
        let shape = latent_shape(&model, args.size)?;
        let regions = args.region.iter().map(|region| region.prompt.as_str());
        let texts = [args.prompt.as_str(), &args.negative].into_iter().chain(regions);
        builtin::warn_of_words(&args.model.model, texts, terminal);
        warn_of_size(&args.model.model, args.size, model.resolution(), terminal);
        // Every draw is a function of the seed, the picture's number and the step.
        let draws = Seed::new(seed);
        let draw = |seed: Seed, counter: usize| {
            normal::<B, 4>(shape, &mut seed.at(counter as u64), &device)
        };
        let noise = match &args.latents {
            Some(file) => read_latents(file, [args.num, shape[1], shape[2], shape[3]])?,
            None => (0..args.num).map(|i| draw(draws.fork("latents"), i).to_data()).collect(),
        };
        let plan = SamplerPlan::new(args.sampler, &model.config().scheduler, args.steps)?;
        fs::create_dir_all(&args.out).map_err(Error::io("cannot create", &args.out))?;

        let painter = Painter::new(&model, &composition);
        let side = model.downscale();
        let size = [shape[3] * side, shape[2] * side];
        let guidance = painter.guidance(args, scale, size, terminal)?;
        let bar = terminal.bar("generate", args.num * plan.steps.len(), "steps");
        let (mut files, mut finals) = (Vec::new(), Vec::new());
        let mut free = first_free(&args.out)?;
        for (number, noise) in noise.into_iter().enumerate() {
            let noise = Tensor::from_data(noise, &device);
            let done = number * plan.steps.len();
            let fresh = |step| draw(draws.fork("steps").fork(&number.to_string()), step);
            let progress = |step| {
                bar.set_position((done + step) as u64);
                !interrupt::requested()
            };
            let latents =
                sample(&model, &painter.adapters, &guidance, &plan, noise, fresh, progress);
            let Some(latents) = latents else {
                return Err(Failure::Interrupted(format!("stopped after {number} pictures")));
            };
            let picture = to_rgb(model.decode_latents(latents.clone()))?;
            // Another process may write to the same folder.
            let taken =
                write_numbered(&args.out, free, &picture, &parameters(args, scale, seed, number))?;
            files.push(numbered(&args.out, taken));
            free = taken + 1;
            finals.extend(latents.to_data().iter::<f32>());
        }
        bar.finish_and_clear();
        if let Some(file) = &args.save_latents {
            write_latents(file, [args.num, shape[1], shape[2], shape[3]], &finals)?;
        }
        terminal.result(&json!({ "pictures": files, "seed": seed }), || {
            files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n")
        })
    }
}

/// The number after the greatest that a picture in the folder has: nothing is written over.
fn first_free(folder: &Path) -> Result<usize, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let number = |path: PathBuf| {
        let picture = path.extension().is_some_and(|extension| extension == "png");
        picture.then(|| path.file_stem()?.to_str()?.parse::<usize>().ok()).flatten()
    };
    let taken = entries.filter_map(|entry| number(entry.ok()?.path())).max();
    Ok(taken.map_or(0, |number| number + 1))
}

/// The concepts that were asked for, or all of the bank.
fn members(concepts: &[String], bank: &Bank) -> Result<Vec<Member>, Failure> {
    if concepts.is_empty() {
        let all = bank.concepts().iter();
        return Ok(all.map(Member::new).collect());
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

/// `[1, channels, height, width]` of the latents of one picture.
fn latent_shape<B: TrainBackend>(
    model: &StableDiffusion<B>,
    size: Option<(usize, usize)>,
) -> Result<[usize; 4], Failure> {
    let (width, height) = size.unwrap_or((model.resolution(), model.resolution()));
    let unit = model.size_unit();
    if width == 0 || height == 0 || width % unit != 0 || height % unit != 0 {
        return Err(Failure::Usage(format!(
            "--size {width}x{height}: width and height must be multiples of {unit} for this model"
        )));
    }
    Ok([1, model.latent_channels(), height / model.downscale(), width / model.downscale()])
}

/// The built-in model has seen pictures of one size only.
fn warn_of_size(model: &Path, size: Option<(usize, usize)>, side: usize, terminal: &Terminal) {
    if let Some((width, height)) = size.filter(|size| *size != (side, side))
        && builtin::is_meant(model)
    {
        terminal.warning(format!(
            "the built-in model was trained on pictures of {side}x{side}; \
             do not expect much of {width}x{height}"
        ));
    }
}

/// One noise tensor per picture from a safetensors file.
fn read_latents(file: &Path, shape: [usize; 4]) -> Result<Vec<TensorData>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let bytes = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| wrong(format!("it is no safetensors file ({e})")))?;
    let view = tensors.tensor("latents").map_err(|_| wrong("there is no `latents`".into()))?;
    if view.shape() != shape || view.dtype() != Dtype::F32 {
        return Err(wrong(format!(
            "`latents` is {:?} {:?}, expected F32 {shape:?} for --num {}",
            view.dtype(),
            view.shape(),
            shape[0]
        )));
    }
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
    let one = shape[1] * shape[2] * shape[3];
    let single = [1, shape[1], shape[2], shape[3]];
    Ok(values.chunks(one).map(|part| TensorData::new(part.to_vec(), single)).collect())
}

fn write_latents(file: &Path, shape: [usize; 4], values: &[f32]) -> Result<(), Failure> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes)?;
    Ok(write_atomic(file, &safetensors::serialize([("latents", view)], None)?)?)
}

/// The settings of a picture in the form that A1111 and its kin read.
fn parameters(args: &Generate, scale: f64, seed: u64, number: usize) -> String {
    let region = |Region { corners: [x0, y0, x1, y1], prompt }: &Region| {
        format!(", Region: {:?}", format!("{x0},{y0},{x1},{y1}:{prompt}"))
    };
    format!(
        "{}\nNegative prompt: {}\nSteps: {}, Sampler: {}, CFG scale: {scale}, Seed: {seed}, Number: {number}{}",
        args.prompt,
        args.negative,
        args.steps,
        args.sampler,
        args.region.iter().map(region).collect::<String>()
    )
}
