//! `seqlora fuse`: one weight per layer for several concepts.

use std::path::PathBuf;

use burn_seqlora::FoundModel;
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::Member;
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::files::check_target;
use burn_seqlora::fusion::{
    self, Fusion, Progress, Stage, StagedFusion, Statistics, StatisticsFolder, truncate,
    write_patches,
};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::{PatchSet, WeightPatch};
use burn_seqlora::model::DiffusionModel;
use serde_json::json;

use super::generate::members;
use super::model;
use crate::args::{Compute, Fuse};
use crate::device::Job;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, bytes};

/// Fuses concepts and writes the changes of the weights.
pub fn run(args: &Fuse, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let fusion = fusion::by_name(&args.method)?;
    let bank = Bank::open(&args.bank)?;
    let members = members(&args.concept, Some(&bank))?;
    if members.is_empty() {
        return Err(Failure::Usage(format!("{} holds no concepts", args.bank.display())));
    }
    check_target(&args.out)?;
    let statistics = args.out.with_extension("statistics");
    if statistics.exists() {
        let text = format!(
            "{} is in the way: statistics are written there meanwhile; remove it, or use another --out",
            statistics.display()
        );
        return Err(Failure::Usage(text));
    }
    let found = model::find(&args.model, terminal)?;
    compute.device.run(Session { args, compute, fusion, members, statistics, found, terminal })
}

struct Session<'a> {
    args: &'a Fuse,
    compute: &'a Compute,
    fusion: Box<dyn Fusion>,
    members: Vec<Member>,
    /// A folder that exists while inputs are recorded.
    statistics: PathBuf,
    found: FoundModel,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, compute, fusion, members, statistics, terminal, .. } = &self;
        let precision = compute.precision.unwrap_or_default();
        let (model, base) = model::load::<B>(&self.found, precision, &device)?;
        let bank = Bank::open_for(&args.bank, &base)?;
        let scheduler = &self.found.config().scheduler;
        let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, scheduler, args.steps)?;
        let folder = StatisticsFolder::new(statistics);
        let staged = StagedFusion {
            fusion: fusion.as_ref(),
            bank: &bank,
            members,
            plan: &plan,
            seed: compute.seed.unwrap_or(0),
            statistics: &folder,
        };
        let memory = staged.memory(model.sites())?;
        terminal.line("memory", format_args!("{} besides the model", bytes(memory.total())));
        let fused = self.fuse::<B, _>(&staged, &model);
        // It is empty, or what is in it is of no use any more.
        if statistics.exists() {
            let _ = std::fs::remove_dir_all(statistics);
        }
        let Some(fused) = fused? else {
            return Err(Failure::Interrupted("stopped; nothing is written".into()));
        };
        let (fused, lost) = match args.rank {
            Some(rank) => {
                let (fused, error) = truncate(&fused, rank);
                (fused, Some(error.relative()))
            }
            None => (fused, None),
        };
        write_patches(&args.out, &fused)?;
        self.report(&fused, lost)
    }
}

impl Session<'_> {
    fn fuse<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        staged: &StagedFusion,
        model: &M,
    ) -> Result<Option<PatchSet>, Failure> {
        let recorded = match self.fusion.needs() {
            Statistics::None => 0,
            _ => Stage::ALL.len() * self.members.len(),
        };
        let layers = staged.layers(model.sites())?;
        let _hold = interrupt::hold();
        let bar = self.terminal.bar("fuse", recorded + layers, "steps");
        let mut done = 0;
        let fused = staged.run(model, |progress| {
            if let Progress::Fused(_, site) = progress {
                self.terminal.detail("fused", site);
            }
            done += 1;
            bar.set_position(done);
            interrupt::flow()
        })?;
        bar.finish_and_clear();
        Ok(fused)
    }

    fn report(&self, fused: &PatchSet, lost: Option<f64>) -> Result<(), Failure> {
        let Self { args, members, terminal, .. } = self;
        let dense = fused.0.values().filter(|p| matches!(p, WeightPatch::Dense { .. })).count();
        let concepts: Vec<_> =
            members.iter().map(|m| json!({ "id": m.id, "scale": m.scale })).collect();
        let file = args.out.display();
        let result = json!({
            "version": 1,
            "file": file.to_string(),
            "method": args.method,
            "concepts": concepts,
            "layers": fused.0.len(),
            "dense_layers": dense,
            "rank": args.rank,
            "relative_error_of_rank": lost,
        });
        terminal.result(&result, || {
            let loss = match lost {
                Some(lost) => format!(", which loses {:.1} % of the change", 100.0 * lost),
                None => String::new(),
            };
            format!("{file}: {} layers, {dense} of them dense{loss}", fused.0.len())
        })
    }
}
