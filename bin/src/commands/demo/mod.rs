//! `seqlora demo`: the whole story on the built-in small model, offline.
//!
//! Individuals of the drawn world are learnt one after another, with SeqLoRA and as plain LoRAs that
//! are added up. Each is asked for right after it was learnt and at the end; a judge that knows the
//! world measures what is left, and a report shows it.

mod course;
mod judge;
mod lessons;
mod pages;
mod progress;
mod scores;
mod settings;
mod studio;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::report::Report;
use burn_seqlora::files::{write_atomic, write_json};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::write_random_model;
use burn_seqlora::toy_world::builtin;

use self::course::{Course, cost};
use self::judge::Judge;
use self::lessons::Lesson;
use self::pages::{headline, report, sheet_rows};
use self::progress::Progress;
use self::scores::{Circumstances, Scores};
use self::settings::{Journal, Settings};
use self::studio::Studio;
use super::model;
use crate::args::{Demo, Global, Model};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::images::contact_sheet;
use crate::terminal::Terminal;

/// Learns, measures and reports, or goes on with it.
pub fn run(args: &Demo, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    let settings = Settings::new(args, global)?;
    let journal = Journal::open(&args.out, &settings)?;
    global.device.run(Session { args, settings, journal, device: global.device, terminal })
}

struct Session<'a> {
    args: &'a Demo,
    settings: Settings,
    journal: Journal,
    device: Device,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, settings, journal, device: place, terminal } = self;
        let (folder, judge) = match args.untrained {
            true => (untrained::<B>(&args.out, &device)?, Judge::small_pictures()),
            false => {
                let folder = builtin::folder()?;
                let judge = Judge::<B>::open(&folder.join("classifier"), &device)?;
                (folder, judge)
            }
        };
        let (model, base) =
            model::open::<B>(&Model::at(&folder), settings.train.precision, &device, terminal)?;
        let lessons = Lesson::all(settings.concepts, model.resolution(), &args.out.join("photos"))?;
        terminal.line("demo", format!("{} concepts into {}", lessons.len(), args.out.display()));
        let mut course = Course {
            model: &model,
            base: &base,
            lessons: &lessons,
            settings: &settings,
            studio: Studio::new(&model, settings.train.seed),
            folder: &args.out,
            progress: Progress::new(terminal, cost::<B>(&settings, &lessons)),
            journal,
        };
        let before = course.before()?;
        let mut outcomes = BTreeMap::new();
        for method in &settings.methods {
            outcomes.insert(method.clone(), course.take(method)?);
        }
        course.progress.finish();
        let circumstances = Circumstances {
            base: &base,
            device: place,
            settings: &settings,
            sampling: Studio::<B>::description(),
            journal: &course.journal,
        };
        let scores = Scores::new(&judge, &device, &lessons);
        let summary = scores.summary(&before, &outcomes, &circumstances)?;
        let command = command(args, &settings, place);
        let report = report::<B>(summary, command, &lessons, &before, &outcomes)?;
        let shown = if args.untrained { folder.as_path() } else { Path::new(builtin::NAME) };
        write(&args.out, &report, shown, terminal)
    }
}

/// The command that makes the same demo.
fn command(args: &Demo, settings: &Settings, device: Device) -> String {
    let Settings { concepts, pictures, methods, train } = settings;
    let config = args.config.as_ref().map(|file| format!(" --config {}", file.display()));
    format!(
        "seqlora demo{}{} --method {} --concepts {concepts} --pictures {pictures} --steps {} --seed {} --precision {} \
         --device {device} --out {}",
        if args.untrained { " --untrained" } else { "" },
        config.unwrap_or_default(),
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

/// `model` is how the user would name it.
fn write(folder: &Path, report: &Report, model: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let file = |name: &str| folder.join(name);
    let (page, sheet) = (file("report.html"), file("contact-sheet.png"));
    write_json(&file("summary.json"), &report.summary)?;
    write_atomic(&page, report.to_html().as_bytes())?;
    contact_sheet(&sheet_rows(report)).save(&sheet)?;
    let summary = &report.summary;
    let first = summary.methods.keys().next().expect("a method");
    terminal.result(&serde_json::to_value(summary)?, || {
        format!(
            "{}\n\nreport     {}\ntry        seqlora generate --model {} --bank {} \
             --prompt \"a <{}> on a beach\" --out pictures",
            headline(summary),
            page.display(),
            model.display(),
            file(first).display(),
            summary.concepts[0].id,
        )
    })
}

/// What ends a demo that Ctrl-C stopped.
fn interrupted() -> Failure {
    Failure::Interrupted("stopped; the state is saved: the same command goes on".into())
}
