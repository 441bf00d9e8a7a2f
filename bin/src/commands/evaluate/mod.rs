//! `seqlora evaluate`: images of all concepts, their scores, and a report.
//!
//! Three stages follow each other: images are generated, images are scored, the report is written. Each does
//! what is not in the folder yet, so that the same command goes on where an earlier one stopped. Everything is
//! written atomically, so Ctrl-C may end the program at any moment.

mod data;
mod forecast;
mod foreign;
mod generate;
mod memory;
mod methods;
mod metrics;
mod report;
mod score;
mod session;
mod settings;

use burn_seqlora::FoundModel;
use burn_seqlora::eval::protocol::{Protocol, images, score_sets};
use burn_seqlora::eval::store::{RunFolder, RunRecord};
use burn_seqlora::kernels::TrainBackend;

use self::data::Data;
use self::memory::Needs;
use self::session::Session;
use self::settings::Settings;
use super::model;
use crate::args::{Compute, Evaluate};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Everything is checked before the model is loaded.
pub fn run(args: &Evaluate, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let settings = Settings::read(args, compute)?;
    let data = Data::read(args)?;
    let protocol = settings.protocol(args, &data)?;
    let found = match &args.model {
        Some(model) => Some(model::find(model, terminal)?),
        None if args.bank.is_empty() && !args.plan => None,
        None => {
            return Err(Failure::Usage("--bank and --plan need the base model: --model".into()));
        }
    };
    // Images from elsewhere keep the size that they have.
    let size = match &found {
        Some(found) => checked_size(&protocol, found)?,
        None => protocol.sampling.size.unwrap_or_default(),
    };
    let mut unchecked = None;
    if let Some(found) = &found {
        let precision = compute.precision.unwrap_or_default();
        let needs = Needs::new(args, &protocol, found, precision, data.decoded)?;
        if args.plan {
            let (settings, found) = (&settings, found.clone());
            let plan = forecast::Plan { args, settings, protocol, found, needs, size, terminal };
            return compute.device.run(plan);
        }
        unchecked = (compute.device == Device::Cpu && !args.force).then_some(needs);
    }
    let (methods, base) = methods::read(args, &protocol, found.as_ref())?;
    let record = RunRecord {
        version: RunRecord::VERSION,
        base,
        size,
        precision: compute.precision.unwrap_or_default(),
        batch: args.batch,
        methods: methods.iter().map(|method| method.plan.clone()).collect(),
        protocol,
    };
    if !args.out.exists() {
        // Of a new run all is left to do; what is refused leaves no folder.
        unchecked.map_or(Ok(()), Needs::check)?;
    }
    let run = RunFolder::open(&args.out, &record)?;
    for folder in &args.merge {
        let merged = run.merge(folder, &record)?;
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
        unchecked,
        methods,
        record,
        run,
        groups,
        sets,
        terminal,
    };
    compute.device.run(session)
}

/// Width and height of the images, if the model can make them.
fn checked_size(protocol: &Protocol, found: &FoundModel) -> Result<[usize; 2], Failure> {
    let wrong_size = |error: burn_seqlora::error::Error| Failure::Usage(format!("--{error}"));
    let sizes = found.config().image_sizes();
    let size = sizes.pixels(protocol.sampling.size).map_err(wrong_size)?;
    generate::check_sampling(protocol, found)?;
    Ok(size)
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        // Metrics that cannot be used are told before hours of generating; their networks are not held
        // meanwhile.
        let todo = self.to_generate()?;
        if !todo.is_empty() {
            self.unchecked.map_or(Ok(()), Needs::check)?;
            let metrics = self.metrics::<B>(&device)?;
            if let (true, Some(first)) = (metrics.metrics.is_empty(), metrics.skipped.first()) {
                self.terminal.warning(format!(
                    "no metric can be computed, so that there will be images and no scores: {}: {}",
                    first.metric, first.reason
                ));
            }
            drop(metrics);
        }
        self.generate::<B>(&todo, &device)?;
        let metrics = self.metrics::<B>(&device)?;
        let scored = self.score::<B>(metrics)?;
        match self.args.shard {
            Some(shard) if shard.count > 1 => self.report_shard(&scored),
            _ => self.report(scored),
        }
    }
}
