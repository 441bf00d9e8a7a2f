//! `seqlora fuse`: one weight per layer for several concepts.

use std::collections::BTreeSet;
use std::path::Path;

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::Member;
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::fusion::{
    self, FusedOrigin, Fusion, FusionFolder, Outcome, Progress, Stage, StagedFusion, Statistics,
    truncate, write_fused,
};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::{PatchSet, WeightPatch};
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::{FoundModel, Shard};
use serde_json::json;

use super::generate::members;
use super::target::check_new;
use super::{memory, model};
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
    if args.shard.is_some() && fusion.needs() == Statistics::None {
        let text =
            format!("--shard: {} needs no inputs, and takes no time worth sharing", args.method);
        return Err(Failure::Usage(text));
    }
    let mut unfinished = args.out.clone().into_os_string();
    unfinished.push(".unfinished");
    let left = Path::new(&unfinished);
    if args.out.exists() && left.exists() {
        return Err(Failure::Usage(format!(
            "--out {} exists already; if it is of this command, which was killed at its end, remove {}",
            args.out.display(),
            left.display()
        )));
    }
    check_new("--out", &args.out)?;
    let folder = FusionFolder::new(unfinished);
    let found = model::find(&args.model, terminal)?;
    compute.device.run(Session { args, compute, fusion, members, folder, found, terminal })
}

struct Session<'a> {
    args: &'a Fuse,
    compute: &'a Compute,
    fusion: Box<dyn Fusion>,
    members: Vec<Member>,
    /// What is done of a fusion that is not finished.
    folder: FusionFolder,
    found: FoundModel,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, compute, fusion, members, folder, terminal, .. } = &self;
        let precision = compute.precision.unwrap_or_default();
        let (model, base) = model::load::<B>(&self.found, precision, &device)?;
        let bank = Bank::open_for(&args.bank, &base)?;
        let scheduler = &self.found.config().scheduler;
        let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, scheduler, args.steps)?;
        let staged = StagedFusion {
            fusion: fusion.as_ref(),
            bank: &bank,
            members,
            plan: &plan,
            seed: compute.seed.unwrap_or(0),
            folder,
            shard: args.shard.unwrap_or(Shard::ALL),
        };
        let result = match args.shard {
            // Whoever runs it once without one puts all layers together.
            Some(_) => 0,
            None => patch_bytes(&bank, members)?,
        };
        let needed = staged.memory(model.sites())?.max(result);
        terminal.line("memory", format_args!("{} besides the model", bytes(needed)));
        if !args.force {
            memory::check(
                needed,
                "besides the model, this fusion needs",
                "fuse fewer concepts, or use a machine with more memory",
            )?;
        }
        if folder.path().exists() {
            terminal.line("going on", format_args!("with what is in {}", folder.path().display()));
        }
        let fused = match self.fuse::<B, _>(&staged, &model)? {
            Outcome::Fused(fused) => fused,
            Outcome::Waiting(stage) => return self.report_shard(Some(stage)),
            Outcome::Stopped => return Err(stopped(folder)),
        };
        if args.shard.is_some() {
            return self.report_shard(None);
        }
        // What follows takes as much memory again as the changes.
        drop(model);
        let (fused, lost) = match args.rank {
            Some(rank) => {
                let (fused, error) = truncate(&fused, rank);
                (fused, Some(error.relative()))
            }
            None => (fused, None),
        };
        let origin = FusedOrigin::new(&args.method, &bank, members, args.rank)?;
        write_fused(&args.out, &fused, &origin)?;
        folder.remove()?;
        self.report(&fused, lost)
    }
}

fn stopped(folder: &FusionFolder) -> Failure {
    let text = format!("stopped; the same command goes on in {}", folder.path().display());
    Failure::Interrupted(text)
}

/// Bytes of the changes of all layers that some concept adapts: once as numbers, and once as those of the file.
fn patch_bytes(bank: &Bank, members: &[Member]) -> Result<usize, Failure> {
    let mut adapted = BTreeSet::new();
    for member in members {
        adapted.extend(bank.record(&member.id)?.sites.into_keys());
    }
    let sites = bank.sites().iter().filter(|site| adapted.contains(&site.name));
    Ok(sites.map(|site| 2 * size_of::<f32>() * site.inputs * site.outputs).sum())
}

impl Session<'_> {
    fn fuse<B: TrainBackend, M: DiffusionModel<B>>(
        &self,
        staged: &StagedFusion,
        model: &M,
    ) -> Result<Outcome, Failure> {
        let (terminal, folder) = (self.terminal.clone(), self.folder.clone());
        // All that is done is in the folder.
        let _hold = interrupt::hold_or(move || terminal.error(&stopped(&folder)));
        let bar = self.terminal.bar("fuse", staged.steps(model.sites())?, "steps");
        let mut done = 0;
        let outcome = staged.run(model, |progress| {
            if let Progress::Fused(_, site) = progress {
                self.terminal.detail("fused", site);
            }
            done += 1;
            bar.set_position(done);
            interrupt::flow()
        })?;
        bar.finish_and_clear();
        Ok(outcome)
    }

    /// What is left when the part is done: others' parts of a stage, or only to write the file.
    fn report_shard(&self, waiting: Option<Stage>) -> Result<(), Failure> {
        let shard = self.args.shard.unwrap_or(Shard::ALL);
        let (part, count) = (shard.number + 1, shard.count);
        let result = json!({
            "version": 1,
            "shard": [part, count],
            "waiting_for": waiting.map(Stage::name),
        });
        self.terminal.result(&result, || match waiting {
            Some(stage) => format!(
                "part {part} of {count} of the stage {} is done; when the others are, the same command goes on",
                stage.name()
            ),
            None => {
                let file = self.args.out.display();
                format!("all layers are fused; the same command without --shard writes {file}")
            }
        })
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
