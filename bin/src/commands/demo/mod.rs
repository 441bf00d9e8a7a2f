//! `seqlora demo`: the method on the built-in small model, offline.
//!
//! Individuals of the toy world are learnt one after another, with SeqLoRA and as plain LoRAs that
//! are added up. Images of each are sampled right after it was learnt and at the end; metrics by a
//! classifier of the toy world measure what is left, and a report shows it.

mod concepts;
mod evaluation;
mod experiment;
mod metrics;
mod pages;
mod pairs;
mod progress;
mod recorded;
mod sample_cache;
mod settings;
mod timing_log;

use std::path::{Path, PathBuf};

use burn_seqlora::eval::report::Report;
use burn_seqlora::files::{write_atomic, write_json};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::write_random_model;
use burn_seqlora::toy_world::builtin;
use burn_seqlora::toy_world::classifier::Classifier;
use burn_seqlora::toy_world::identification::Identifier;

use self::concepts::ToyConcept;
use self::evaluation::{Evaluation, RunMetadata};
use self::experiment::{ExperimentRunner, cost};
use self::pages::{headline, report, sheet_rows};
use self::pairs::{pair_scores, pairs};
use self::progress::Progress;
use self::sample_cache::SampleCache;
use self::settings::Settings;
use self::timing_log::TimingLog;
use super::model;
use crate::args::{Compute, Demo, Model};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::images::{contact_sheet, write_png};
use crate::interrupt;
use crate::terminal::Terminal;

/// Learns, measures and reports, or goes on with it.
pub fn run(args: &Demo, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let settings = Settings::new(args, compute)?;
    let timing = TimingLog::open(&args.out, &settings)?;
    compute.device.run(Session { args, settings, timing, device: compute.device, terminal })
}

struct Session<'a> {
    args: &'a Demo,
    settings: Settings,
    timing: TimingLog,
    device: Device,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, settings, timing, device: place, terminal } = self;
        let (folder, classifier) = match args.untrained {
            true => (untrained::<B>(&args.out, &device)?, None),
            false => {
                let folder = builtin::folder()?;
                let classifier = Classifier::<B>::load(&folder.join("classifier"), &device)?;
                (folder, Some(classifier))
            }
        };
        let metrics = match &classifier {
            Some(classifier) => metrics::by_classifier(classifier, &device),
            None => metrics::by_small_images::<B>(&device),
        };
        let (model, base) =
            model::open::<B>(&Model::at(&folder), settings.train.precision, &device, terminal)?;
        // The untrained model's tokenizer has a token for each letter: captions of two objects do not fit.
        let concepts = ToyConcept::all(&settings, model.resolution(), &args.out, !args.untrained)?;
        terminal.line("demo", format!("{} concepts into {}", concepts.len(), args.out.display()));
        let mut runner = ExperimentRunner {
            model: &model,
            base: &base,
            concepts: &concepts,
            settings: &settings,
            samples: SampleCache::new(&model, settings.train.seed),
            folder: &args.out,
            progress: Progress::new(terminal, cost::<B>(&settings, &concepts)),
            timing,
        };
        let hold = interrupt::hold();
        let base_images = runner.base_images()?;
        let outcomes = settings.methods.iter().map(|method| runner.run(method));
        let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
        runner.progress.finish();
        drop(hold);
        let metadata = RunMetadata {
            base: &base,
            device: place,
            settings: &settings,
            sampling: SampleCache::<B>::description(),
            timing: &runner.timing,
        };
        let evaluation = Evaluation::new(&metrics, &concepts, &metadata);
        let mut summary = evaluation.summary(&base_images, &outcomes)?;
        if let Some(classifier) = &classifier {
            let identifier = Identifier::new(classifier, &device);
            for (method, outcome) in summary.methods.iter_mut().zip(&outcomes) {
                let images = pairs(&concepts).zip(&outcome.pairs);
                method.pairs = Some(pair_scores(images, &identifier, &device));
            }
        }
        let command = command(args, &settings, place);
        let report = report(summary, command, &settings, &concepts, &base_images, &outcomes)?;
        let shown = if args.untrained { folder.as_path() } else { Path::new(builtin::NAME) };
        write(&args.out, &report, shown, terminal)
    }
}

/// The command that makes the same demo.
fn command(args: &Demo, settings: &Settings, device: Device) -> String {
    let Settings { concepts, class, images, methods, train } = settings;
    let class = class.as_ref().map(|class| format!(" --class {class}"));
    let config = args.config.as_ref().map(|file| format!(" --config {}", file.display()));
    format!(
        "seqlora demo{}{}{} --method {} --concepts {concepts} --images {images} --steps {} --seed {} --precision {} \
         --device {device} --out {}",
        if args.untrained { " --untrained" } else { "" },
        config.unwrap_or_default(),
        class.unwrap_or_default(),
        methods.join(","),
        train.steps,
        train.seed,
        train.precision,
        args.out.display(),
    )
}

/// A model with random weights, always the same ones.
fn untrained<B: TrainBackend>(out: &Path, device: &B::Device) -> Result<PathBuf, Failure> {
    let folder = out.join("untrained-model");
    write_random_model::<B>(&folder, 0, device)?;
    Ok(folder)
}

/// Writes the report's files and prints the results. `model` is the name for `--model`.
fn write(folder: &Path, report: &Report, model: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let file = |name: &str| folder.join(name);
    let (page, sheet) = (file("report.html"), file("contact-sheet.png"));
    write_json(&file("summary.json"), &report.summary)?;
    write_atomic(&page, report.to_html().as_bytes())?;
    write_png(&sheet, &contact_sheet(&sheet_rows(report)), &report.title)?;
    let summary = &report.summary;
    let first = &summary.methods.first().expect("a demo has a method").name;
    terminal.result(&serde_json::to_value(summary)?, || {
        format!(
            "{}\n\nreport     {}\ntry        seqlora generate --model {} --bank {} \
             --prompt \"a <{}> on a beach\" --out images",
            headline(summary),
            page.display(),
            model.display(),
            file(first).display(),
            summary.concepts[0].id,
        )
    })
}
