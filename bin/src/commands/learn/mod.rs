//! `seqlora learn`

mod chosen_memory;
mod failures;
mod folders;
mod forecast;
mod keep;
mod plan;
mod preview;
mod preview_prompts;
mod progress;
mod tensorboard;

use burn_seqlora::Shard;
use burn_seqlora::bank::Bank;
use burn_seqlora::data::{ConceptData, ConceptSource, DiscoverOptions, Manifest};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::Subspace;
use burn_seqlora::methods;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{
    Flow, PlanOptions, learn, plan, plan_further, prompts, resolution, settings_of,
};
use serde_json::json;

use self::chosen_memory::Chosen;
use self::failures::Failures;
use self::forecast::Forecast;
use self::keep::Keeper;
use self::plan::{plan_json, show_data, show_plan, show_words};
use self::preview::Previewer;
use self::progress::{Progress, examined, report};
use self::tensorboard::Tensorboard;
use super::{builtin, model};
use crate::args::{Compute, Learn, MemoryChoice};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::settings;
use crate::terminal::Terminal;

/// Learns the concepts of `args.data` one after another.
pub fn run(args: &Learn, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let config = match &args.further {
        Some(id) => settings_of(&Bank::open(&args.bank)?, id)?,
        None => TrainConfig::default(),
    };
    // What is given are minibatches of this training.
    let before = config.continued_from.unwrap_or(0);
    let mut config = TrainConfig { steps: config.steps - before, ..config };
    if let Some(file) = &args.config {
        config = settings::read_training(file, &config)?;
    }
    args.train.override_config(&mut config);
    config.steps = config.steps.saturating_add(before);
    config.seed = compute.seed.unwrap_or(config.seed);
    config.precision = compute.precision.unwrap_or(config.precision);
    if let Some(shard) = args.shard {
        config.subspace = Subspace::new(shard.number + 1, shard.count);
        config.concepts = config.concepts.map(|all| all.div_ceil(shard.count));
    }
    config.validate().map_err(Failure::usage)?;
    if args.model.vae.is_some() {
        // Cached latents would not say which VAE they are from.
        let text = "--vae is for images; concepts are learnt with the model's own";
        return Err(Failure::Usage(text.into()));
    }
    let prompts = preview_prompts::prompts(&args.previews)?;
    let options = DiscoverOptions {
        class_word: args.class_word.clone(),
        id: args.id.clone(),
        class_images: args.class_images.clone(),
        images_root: args.images_root.clone(),
    };
    let mut manifest = Manifest::discover(&args.data, &options)?;
    if let Some(id) = &args.further {
        keep_only(&mut manifest, id)?;
        keep_class(&mut manifest.concepts[0], args, terminal)?;
    }
    if let Some(shard) = args.shard {
        keep_part(&mut manifest, shard)?;
    }
    if let Some(folder) = &args.previews.keep {
        let ids = manifest.concepts.iter().map(|concept| concept.id.as_str());
        keep::check_outside(folder, &args.bank, ids)?;
    }
    show_data(&manifest, &args.data, terminal);
    builtin::warn_of_words(&args.model.model, texts(&manifest, &config), terminal);
    let session = Session { args, prompts, config, manifest, device: compute.device, terminal };
    compute.device.run(session)
}

struct Session<'a> {
    args: &'a Learn,
    /// Of previews.
    prompts: Vec<String>,
    config: TrainConfig,
    manifest: Manifest,
    device: Device,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, prompts, config, manifest, terminal, .. } = &self;
        let (model, base) = model::open::<B>(&args.model, config.precision, &device, terminal)?;
        let side = resolution(config, &model).map_err(Failure::usage)?;
        let method = methods::by_name::<B>(&config.method)?;
        let mut bank = match (args.plan, args.bank.join("bank.json").exists()) {
            (false, _) => Bank::open_or_create(&args.bank, &base, model.sites())?,
            (true, true) => Bank::open_for(&args.bank, &base)?,
            (true, false) => Bank::dry_run(&args.bank, &base, model.sites()),
        };
        let mut plan = examined(terminal, |progress| {
            let data = manifest.concepts.iter().map(|concept| concept as &dyn ConceptData);
            let (sites, resume) = (model.sites(), args.resume);
            match &args.further {
                None => {
                    let options = PlanOptions { resume, keep_going: args.keep_going };
                    plan(&bank, method, data, sites, config, options, progress)
                }
                Some(_) => {
                    let data = &manifest.concepts[0];
                    plan_further(&bank, method, data, sites, config, resume, progress)
                }
            }
        })?;
        let available = forecast::available(self.device, &model);
        let chosen = match args.train.memory {
            Some(MemoryChoice::Auto) => {
                Some(Chosen::new(&model, &mut plan, method, config, available)?)
            }
            _ => None,
        };
        let memory = chosen.as_ref().map_or(config.memory, |chosen| chosen.memory);
        let config = &TrainConfig { memory, ..config.clone() };
        let mut failures = Failures::of(&plan.failed, terminal);
        let (name, place) = (format!("{} ({})", base.name, base.fingerprint), self.device);
        terminal.line("model", format!("{name}, {side} px, {} on {place}", config.precision));
        for concept in &plan.concepts {
            for prompt in prompts::check(&model, concept.data, &concept.config)? {
                terminal.warning(format!("the end of `{prompt}` does not fit and is left out"));
            }
        }
        preview_prompts::check(&model, &bank, &plan, prompts, terminal)?;
        show_words(&plan, |word| model.token_pieces(word), terminal);
        show_plan(&plan, &bank, model.sites(), config, method.constraint(), terminal)?;
        let forecast =
            Forecast::new::<B>(&model, &plan, method.work(config), available, args.force)?;
        forecast.show(terminal);
        if let Some(chosen) = &chosen {
            chosen.show(terminal);
        }
        if args.plan {
            let nothing = || "nothing is trained: --plan stops here".into();
            let mut result = plan_json(&plan, |word| model.token_pieces(word), &forecast);
            result["memory"]["setting"] = json!(config.memory);
            result["failed"] = failures.json();
            terminal.result(&result, nothing)?;
            forecast.check(args.force)?;
            return failures.check();
        }
        forecast.check(args.force)?;
        let mut progress = Progress::new(terminal);
        let mut previewer = match prompts.is_empty() {
            true => None,
            false => {
                plan.snapshot_every = Some(args.previews.every());
                preview::check_folder(&plan, &bank, args)?;
                let made_with = (&base, config.precision);
                Some(Previewer::new(&model, made_with, &bank, prompts, args, terminal)?)
            }
        };
        let keeper = match &args.previews.keep {
            None => None,
            Some(folder) => {
                plan.snapshot_every = Some(args.previews.every());
                let constraint = method.constraint();
                Some(Keeper::new(folder, &bank, &plan, args.resume, constraint, terminal)?)
            }
        };
        let tensorboard = args.previews.tensorboard.as_deref();
        let mut tensorboard = tensorboard
            .map(|folder| Tensorboard::new(folder, &plan, &bank, terminal))
            .transpose()?;
        let finished = learn::<B, _>(&model, &mut bank, method, &plan, |event| {
            let drawn =
                previewer.as_mut().map_or(Flow::Continue, |previewer| previewer.see(&event));
            if let Some(keeper) = &keeper {
                keeper.see(&event);
            }
            if let Some(tensorboard) = &mut tensorboard {
                tensorboard.see(&event, previewer.as_ref().map_or(&[], Previewer::drawn));
            }
            failures.see(&event);
            match progress.show(event) {
                Flow::Continue => drawn,
                Flow::Stop => Flow::Stop,
            }
        })?;
        if !finished {
            return Err(Failure::stopped());
        }
        report(&bank, &progress, &failures, terminal)?;
        failures.check()
    }
}

/// Leaves one concept of the data.
fn keep_only(manifest: &mut Manifest, id: &str) -> Result<(), Failure> {
    let known: Vec<&str> = manifest.concepts.iter().map(|concept| concept.id.as_str()).collect();
    if !known.contains(&id) {
        let text =
            format!("--continue: there are no images of `{id}`, but of {}", known.join(", "));
        return Err(Failure::Usage(text));
    }
    manifest.concepts.retain(|concept| concept.id == id);
    Ok(())
}

/// Gives the data of a concept of the bank the class that it was learnt with.
fn keep_class(data: &mut ConceptSource, args: &Learn, terminal: &Terminal) -> Result<(), Failure> {
    let known = Bank::open(&args.bank)?.record(&data.id)?.class_word;
    if args.class_word.as_ref().is_some_and(|class| *class != known) {
        let (id, given) = (&data.id, &data.class_word);
        return Err(Failure::Usage(format!(
            "--class {given}: `{id}` was learnt with the class `{known}`, and keeps it"
        )));
    }
    if data.class_word != known {
        let (id, said) = (&data.id, &data.class_word);
        terminal.line(
            "class",
            format!("`{known}`, with which `{id}` was learnt; the data say `{said}`"),
        );
    }
    data.set_class(&known);
    Ok(())
}

/// Leaves a part of the data.
fn keep_part(manifest: &mut Manifest, shard: Shard) -> Result<(), Failure> {
    let all = manifest.concepts.len();
    let mut numbers = 0..;
    manifest.concepts.retain(|_| numbers.next().is_some_and(|number| shard.has(number)));
    match manifest.concepts.is_empty() {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "--shard: of {all} concepts nothing is left for part {} of {}",
            shard.number + 1,
            shard.count
        ))),
    }
}

/// All that the text encoder is going to read.
fn texts<'a>(manifest: &'a Manifest, config: &'a TrainConfig) -> impl Iterator<Item = &'a str> {
    let concepts = manifest.concepts.iter().flat_map(|concept| {
        let captions = concept.images.iter().filter_map(|image| image.caption.as_ref());
        let texts = captions.chain(&concept.templates).chain([&concept.class_word]);
        texts.map(String::as_str)
    });
    concepts.chain(config.common_prompts.iter().map(String::as_str))
}
