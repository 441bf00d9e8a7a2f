//! `seqlora generate`: everything that the command line says is checked before the model is loaded.

mod checks;
mod concepts;
mod init;
mod inputs;
mod latents;
mod loras;
pub mod memory;
mod orders;
mod output;
mod parameters;
mod part;
mod settings;
mod strengths;

use std::sync::Arc;
use std::{fs, mem};

use burn::tensor::TensorData;
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::error::Error;
use burn_seqlora::fusion::patched;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::pipeline::{ImageRequest, Pipeline, SamplingSettings};
use burn_seqlora::precision::Precision;
use burn_seqlora::text::without_weights;
use burn_seqlora::{Flow, FoundModel};

use self::checks::{check_model, check_outputs, check_strengths, check_weights};
use self::concepts::check_prompts;
pub use self::concepts::{check_bare, members};
use self::inputs::Input;
use self::loras::LoadedLora;
use self::orders::{Order, orders, request};
use self::output::{Made, first_free};
use self::parameters::RunParameters;
use self::settings::{settings, warn_of_no_effect};
use super::{builtin, fused, model};
use crate::args::{Compute, Generate};
use crate::device::Job;
use crate::failure::Failure;
use crate::images::{numbered, to_rgb_image, write_numbered, write_png};
use crate::interrupt;
use crate::repeat;
use crate::terminal::Terminal;

/// Generates images.
pub fn run(args: &Generate, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let mut args = args.clone();
    let settings = settings(&args)?;
    let mut orders = orders(&args, compute.seed.unwrap_or(0))?;
    strengths::check_alike(texts(&args, &orders), &args.concept)?;
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
    let inputs = inputs::inputs(args, bank.as_ref(), &members, &found.config().scheduler)?;
    let (orders, latents) = match args.shard {
        Some(shard) => part::of_shard(orders, latents, shard),
        None => (orders, latents),
    };
    let precision = compute.precision.unwrap_or_default();
    compute.device.run(Session {
        args,
        settings,
        orders,
        members,
        loras,
        inputs,
        found,
        latents,
        precision,
        terminal,
    })
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

struct Session<'a> {
    args: &'a Generate,
    settings: SamplingSettings,
    orders: Vec<Order>,
    members: Vec<Member>,
    loras: Vec<LoadedLora>,
    inputs: Vec<Input>,
    found: FoundModel,
    latents: Vec<Option<TensorData>>,
    precision: Precision,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(mut self, device: B::Device) -> Result<(), Failure> {
        let (orders, latents) = (mem::take(&mut self.orders), mem::take(&mut self.latents));
        let Self { args, settings, members, terminal, .. } = &self;
        let (model, base) = model::load::<B>(&self.found, self.precision, &device)?;
        let model = loras::merge(model, &self.loras, terminal)?;
        if let Some(original) = repeat::original(args) {
            repeat::warn_of_other_model(&original, &base, terminal);
            inputs::warn_of_others(&original, &self.inputs, terminal);
        }
        let bank = args.bank.as_ref().map(|path| Bank::open_for(path, &base)).transpose()?;
        let mut composition = match &bank {
            Some(bank) => Composition::<B>::load(bank, members, model.sites(), &device)?,
            None => Composition::none(model.sites().len()),
        };
        if let Some(file) = &args.fused {
            let (sites, bank) = (model.sites(), bank.as_ref());
            let patches = fused::read(file, sites, &base, bank, members, terminal)?;
            composition.adapters = patched(&model, &patches)?;
        }
        let pipeline = Pipeline::new(&model, composition);
        let side = model.resolution();
        warn(args, &pipeline, settings, &texts(args, &orders), side, terminal)?;
        fs::create_dir_all(&args.out).map_err(Error::io("cannot create", &args.out))?;
        let sizes = self.found.config().image_sizes();
        let parameters = RunParameters {
            args,
            settings,
            precision: self.precision,
            size: sizes.pixels(settings.size)?,
            base: &base,
            members,
            inputs: &self.inputs,
        };
        let (orders, latents) = part::missing(orders, latents, &parameters)?;
        let requests: Vec<ImageRequest> = orders
            .iter()
            .zip(latents)
            .map(|(order, latents)| request(args, order, latents))
            .collect();
        let [_, channels, height, width] = sizes.latent_shape(settings.size)?;
        let latents = args.save_latents.clone().map(|file| (file, [channels, height, width]));
        let made = Arc::new(Made::new(orders, latents, terminal));
        let sampled = self.sample(&pipeline, &parameters, &requests, &made);
        // What is there is kept, however it ended.
        match &sampled {
            Ok(()) => made.finish(false)?,
            Err(Failure::Interrupted(_)) => made.finish(true)?,
            Err(_) => made.save_latents()?,
        }
        sampled
    }
}

impl Session<'_> {
    /// Samples all images, and writes each as soon as it is there.
    fn sample<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        pipeline: &Pipeline<B, M>,
        parameters: &RunParameters,
        requests: &[ImageRequest],
        made: &Arc<Made>,
    ) -> Result<(), Failure> {
        let Self { args, settings, terminal, .. } = self;
        let so_far = made.clone();
        let _hold = interrupt::hold_or(move || so_far.finish_interrupted());
        let steps = settings.plan(&self.found.config().scheduler)?.steps.len();
        let bar = terminal.bar("generate", requests.len() * steps, "steps");
        let mut free = first_free(&args.out)?;
        while made.count() < requests.len() {
            let done = made.count();
            let size = next_batch(pipeline, &requests[done..], args.batch, settings)?;
            let requests = &requests[done..done + size];
            let mut writing = None;
            let progress = |step| {
                bar.set_position((done * steps + step * requests.len()) as u64);
                let flow = interrupt::flow();
                if step == steps && flow == Flow::Continue {
                    writing = Some(made.begin_writing());
                }
                flow
            };
            let Some(sampled) = pipeline.sample(requests, settings, progress)? else {
                return Err(made.interrupted());
            };
            let mut files = Vec::new();
            for (image, order) in sampled.images.into_iter().zip(made.orders_left()) {
                let (image, text) = (to_rgb_image(image), parameters.text(order));
                let taken = match order.place {
                    Some(place) => {
                        write_png(&numbered(&args.out, place), &image, &text)?;
                        place
                    }
                    // Another process may write to the same folder.
                    None => write_numbered(&args.out, free, &image, &text)?,
                };
                files.push(numbered(&args.out, taken));
                free = taken + 1;
            }
            made.add(files, || sampled.latents.to_data());
            drop(writing);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// How many of the requests make the next batch: up to `most` whose prompts have equally many chunks of
/// tokens.
fn next_batch<B: TrainBackend, M: DiffusionModel<B>>(
    pipeline: &Pipeline<B, M>,
    requests: &[ImageRequest],
    most: usize,
    settings: &SamplingSettings,
) -> Result<usize, Error> {
    let mut size = 0;
    let mut first = None;
    for request in requests.iter().take(most) {
        let chunks = pipeline.chunks(request, settings)?;
        if *first.get_or_insert(chunks) != chunks {
            break;
        }
        size += 1;
    }
    Ok(size)
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
