//! `seqlora evaluate`: images of all concepts, their scores, and a report.
//!
//! Three stages follow each other: images are generated, images are scored, the report is written. Each does
//! what is not in the folder yet, so that the same command goes on where an earlier one stopped. Everything is
//! written atomically, so Ctrl-C may end the program at any moment.

mod data;
mod forecast;
mod foreign;
mod generate;
mod methods;
mod metrics;
mod report;
mod score;
mod settings;

use burn_seqlora::FoundModel;
use burn_seqlora::eval::protocol::{ImageGroup, Protocol, ScoreSet, images, score_sets};
use burn_seqlora::eval::store::{RunFolder, RunRecord, StoreError};
use burn_seqlora::kernels::TrainBackend;

use self::data::Data;
use self::methods::Method;
use self::settings::Settings;
use super::model;
use crate::args::{Compute, Evaluate, Shard};
use crate::device::Job;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Everything is checked before the model is loaded.
pub fn run(args: &Evaluate, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let settings = Settings::read(args, compute)?;
    let data = Data::read(args, &settings)?;
    let protocol = settings.protocol(args, &data)?;
    let found = model::find(&args.model, terminal)?;
    let sizes = found.config().image_sizes();
    let wrong_size = |error: burn_seqlora::error::Error| Failure::Usage(format!("--{error}"));
    let size = sizes.pixels(protocol.sampling.size).map_err(wrong_size)?;
    generate::check_sampling(&protocol, &found)?;
    if args.plan {
        let (settings, data) = (&settings, &data);
        let plan = forecast::Plan { args, settings, data, protocol, found, size, terminal };
        return compute.device.run(plan);
    }
    let (methods, base) = methods::read(args, &protocol, &found)?;
    let record = RunRecord {
        version: RunRecord::VERSION,
        base: [found.name().to_string(), base],
        size,
        precision: compute.precision.unwrap_or_default(),
        batch: args.batch,
        methods: methods.iter().map(|method| method.plan.clone()).collect(),
        protocol,
    };
    let run = RunFolder::open(&args.out, &record).map_err(store)?;
    for folder in &args.merge {
        let merged = run.merge(folder, &record).map_err(store)?;
        let text =
            format!("{} files from {}, {} were here", merged.new, folder.display(), merged.equal);
        terminal.line("merged", text);
    }
    let groups = images(&record.protocol, &record.methods, record.base_model(), size);
    let concepts: Vec<String> = record.protocol.concepts.iter().map(|c| c.id.clone()).collect();
    let groups = foreign::add(groups, &methods, &run, &concepts)?;
    let sets = score_sets(&record.protocol, &record.methods, &groups, size);
    let session = Session {
        args,
        settings: &settings,
        data: &data,
        found,
        methods,
        record,
        run,
        groups,
        sets,
        terminal,
    };
    compute.device.run(session)
}

/// What all stages share.
struct Session<'a> {
    args: &'a Evaluate,
    settings: &'a Settings,
    data: &'a Data,
    found: FoundModel,
    methods: Vec<Method>,
    record: RunRecord,
    run: RunFolder,
    groups: Vec<ImageGroup>,
    sets: Vec<ScoreSet>,
    terminal: &'a Terminal,
}

impl Session<'_> {
    fn protocol(&self) -> &Protocol {
        &self.record.protocol
    }

    /// The part that is done here.
    fn shard(&self) -> Shard {
        self.args.shard.unwrap_or(Shard { number: 0, count: 1 })
    }
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        // Metrics that cannot be used are told before hours of generating; their networks are not held
        // meanwhile.
        let todo = self.to_generate()?;
        if !todo.is_empty() {
            drop(self.metrics::<B>(&device)?);
        }
        self.generate::<B>(&todo, &device)?;
        let metrics = self.metrics::<B>(&device)?;
        let scored = self.score(metrics)?;
        match self.args.shard {
            Some(shard) if shard.count > 1 => self.report_shard(&scored),
            _ => self.report(scored),
        }
    }
}

/// A folder that cannot be used, in the words of the options that choose it.
fn store(error: StoreError) -> Failure {
    match error {
        StoreError::Other { .. } => Failure::Usage(format!(
            "{error}; give the same data and options, or choose another --out"
        )),
        StoreError::Foreign { .. } => Failure::Usage(format!("{error}; choose another --out")),
        error => error.into(),
    }
}
