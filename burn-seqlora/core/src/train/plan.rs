//! What a run will do, found out before anything expensive happens.

use seqlora_kernels::TrainBackend;
use serde_json::json;

use super::capacity::{CapacityPlan, plan_ranks};
use super::checkpoint;
use super::checkpoint_record::CheckpointRecord;
use super::feasible::feasible;
use super::keep_going::{FailedConcept, PlanOptions, begun_first, is_of_one_concept};
use super::unfinished::check_nothing_unfinished;
use crate::bank::{Bank, ConceptId, ConceptRecord, TrainingRecord};
use crate::compose::HostConcept;
use crate::data::{ConceptData, Examination, MaskCoverage};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::lora::{Feasible, Site};
use crate::methods::{Constraint, Method};
use crate::settings::TrainConfig;

/// What is about to be trained.
#[derive(Debug, Default)]
pub struct LearnPlan<'a> {
    /// The concepts that are not in the bank yet, in order.
    pub concepts: Vec<ConceptPlan<'a>>,
    /// Concepts of the data that a resumed run finds in the bank.
    pub done: Vec<String>,
    /// Concepts whose data cannot be read, if the run keeps going.
    pub failed: Vec<FailedConcept>,
    /// Whether the run goes on with the next concept when one cannot be learnt.
    pub keep_going: bool,
    /// After so many steps of a concept, before the first and after the last, it is
    /// [shown as it is](super::Event::Snapshot); `None`, as planned, for never. It changes nothing of what is learnt.
    pub snapshot_every: Option<usize>,
}

/// What is about to be trained for one concept.
#[derive(Debug, Clone)]
pub struct ConceptPlan<'a> {
    /// Its id, which is also that of the data.
    pub id: ConceptId,
    /// What it is learnt from.
    pub data: &'a dyn ConceptData,
    /// Its settings: the run's, with the data's own number of steps.
    pub config: TrainConfig,
    /// Its rank at each site of the model.
    pub capacity: CapacityPlan,
    /// The step at which it begins: that of its checkpoint, or that at which an earlier training ended.
    pub resume_at: usize,
    /// A digest of images, masks and captions.
    pub data_digest: String,
    /// Pixels of the largest image.
    pub largest_image: usize,
    /// How much of their images the subject masks cover; `None` without masks.
    pub mask_coverage: Option<MaskCoverage>,
}

impl LearnPlan<'_> {
    /// The ids of the concepts whose data cannot be read.
    pub(super) fn failed_ids(&self) -> Vec<ConceptId> {
        self.failed.iter().filter_map(|failed| ConceptId::new(failed.id.as_str()).ok()).collect()
    }
}

impl ConceptPlan<'_> {
    /// The same with the directions that concepts before it leave, which were planned and could not be learnt.
    pub(super) fn replanned<B: TrainBackend>(
        &self,
        bank: &Bank,
        method: &dyn Method<B>,
        sites: &[Site],
    ) -> Result<Self> {
        let used = used_directions(bank, sites, &self.config)?;
        let capacity = plan_ranks(sites, &used, &self.config, method.constraint());
        Ok(Self { capacity, ..self.clone() })
    }

    /// What inference needs to know of the concept as it is after some steps.
    pub fn record(&self, concept: &HostConcept, constraint: Constraint) -> ConceptRecord {
        let reserves = constraint.is_orthogonal();
        let group = self.config.orthogonal_within.clone().filter(|_| reserves);
        let (class, words) = (self.data.class_word(), concept.words);
        ConceptRecord::new(&self.id, class, words, reserves, &concept.adapter).in_group(group)
    }

    /// How it was trained in so many steps by a method, with the probes' loss before and after them.
    pub fn training(&self, method: &str, steps: usize, losses: [f64; 2]) -> TrainingRecord {
        let [initial_loss, final_loss] = losses;
        TrainingRecord {
            method: method.into(),
            images: self.data.image_names(),
            data_digest: self.data_digest.clone(),
            steps,
            initial_loss,
            final_loss,
            settings: json!(self.config),
            trained_by: format!("burn-seqlora {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// How far the pass over a concept's files is that a plan begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examining<'a> {
    /// The concept.
    pub id: &'a str,
    /// Images read and decoded.
    pub done: usize,
    /// Images in all.
    pub images: usize,
}

/// Checks a run before anything expensive happens: ids, images, capacity, checkpoints. `sites` are the
/// model's. All files of the data are read; `progress` is told how far that is, and may stop it.
///
/// # Errors
/// If the bank belongs to another method, a concept is in the bank already, an image cannot be used (unless the run keeps
/// going), a run is unfinished and `resume` is not set, settings have changed since or leave nothing of a layer, capacity
/// is missing under `strict_capacity`, more concepts are learnt than `concepts` announces, or another concept than these
/// is being trained.
/// [`Error::Stopped`] if `progress` says so.
pub fn plan<'a, B: TrainBackend>(
    bank: &Bank,
    method: &dyn Method<B>,
    data: impl IntoIterator<Item = &'a dyn ConceptData>,
    sites: &[Site],
    config: &TrainConfig,
    options: PlanOptions,
    mut progress: impl FnMut(Examining) -> Flow,
) -> Result<LearnPlan<'a>> {
    let PlanOptions { resume, keep_going } = options;
    config.validate()?;
    if config.continued_from.is_some() {
        return Err(Error::Invalid("`continued_from` is for concepts that are in the bank".into()));
    }
    check_name(method, config)?;
    bank.check_method(method.name())?;
    let constraint = method.constraint();
    if constraint.is_orthogonal() {
        check_protected(sites, config)?;
    }
    check_rank(sites, config)?;
    let mut used = used_directions(bank, sites, config)?;
    let mut plan = LearnPlan { keep_going, ..LearnPlan::default() };
    let mut data: Vec<&dyn ConceptData> = data.into_iter().collect();
    // What is in the bank is not learnt here, but may be trained further.
    let new = data.iter().map(|data| data.id()).filter(|id| !bank.contains(id));
    check_nothing_unfinished(bank, &new.collect::<Vec<_>>())?;
    if resume && keep_going {
        data = begun_first(bank, data);
    }
    for data in data {
        let config = TrainConfig { steps: data.steps().unwrap_or(config.steps), ..config.clone() };
        config.validate()?;
        let id = ConceptId::new(data.id()).map_err(|e| Error::Invalid(e.to_string()))?;
        data.check()?;
        let known = bank.like(data.id());
        if let Some(known) = known.filter(|known| !resume || *known != data.id()) {
            return Err(Error::DuplicateConcept { id: known.into() });
        }
        let images = data.image_names().len();
        let examined =
            data.examine(&mut |done| progress(Examining { id: data.id(), done, images }));
        let Examination { digest: data_digest, largest_image, mask_coverage } = match examined {
            // It is learnt, and whether its images have changed since cannot be said.
            Err(error) if keep_going && is_of_one_concept(&error) && known.is_some() => {
                plan.done.push(data.id().to_string());
                continue;
            }
            Err(error) if keep_going && is_of_one_concept(&error) => {
                plan.failed.push(FailedConcept { id: data.id().into(), error });
                continue;
            }
            examined => examined?,
        };
        if known.is_some() {
            let (_, before) = bank.concept(data.id())?;
            // One that was trained further has the settings of that.
            if before.settings["continued_from"].is_null() {
                let before = (&before.settings, before.data_digest.as_str());
                checkpoint::check_unchanged(data.id(), before, (&config, &data_digest))?;
            }
            plan.done.push(data.id().to_string());
            continue;
        }
        let capacity = plan_ranks(sites, &used, &config, constraint);
        check_capacity(sites, &config, &capacity, data.id())?;
        let planned = plan.concepts.iter().map(|concept| concept.data.id());
        let earlier: Vec<String> =
            bank.earlier().into_iter().chain(planned.map(String::from)).collect();
        let resume_at = resume_at(bank, &id, resume, |record| {
            record.check(data.id(), &config, &data_digest, &earlier)
        })?;
        used.iter_mut().zip(&capacity.ranks).for_each(|(used, rank)| *used += rank);
        plan.concepts.push(ConceptPlan {
            id,
            data,
            config,
            capacity,
            resume_at: resume_at.unwrap_or(0),
            data_digest,
            largest_image,
            mask_coverage,
        });
    }
    if constraint.is_orthogonal() {
        check_announced(bank, plan.concepts.len(), config)?;
    }
    Ok(plan)
}

/// How many directions of each site are taken from a new concept.
fn used_directions(bank: &Bank, sites: &[Site], config: &TrainConfig) -> Result<Vec<usize>> {
    let group = config.orthogonal_within.as_deref();
    match config.subspace.filter(|_| bank.concerning(group).is_ok_and(|known| known > 0)) {
        // Those of other blocks take nothing.
        Some(_) => {
            let feasible = feasible(sites, config, bank.directions(sites, group)?);
            Ok(feasible.iter().map(Feasible::avoided_count).collect())
        }
        None => bank.reserved(sites, group),
    }
}

/// The announced number of concepts divides the capacity among all that share the model.
fn check_announced(bank: &Bank, new: usize, config: &TrainConfig) -> Result<()> {
    let known = bank.concerning(config.orthogonal_within.as_deref())?;
    match config.concepts {
        Some(announced) if announced < known + new => {
            let of_group = config.orthogonal_within.iter();
            let of_group: String =
                of_group.map(|group| format!(" of the group `{group}`")).collect();
            Err(Error::Invalid(format!(
                "`concepts` is {announced}, but the bank holds {known}{of_group}, and {new} more are to be \
                 learnt"
            )))
        }
        _ => Ok(()),
    }
}

/// Where even the largest layer is smaller than the rank, the rank is a mistake.
fn check_rank(sites: &[Site], config: &TrainConfig) -> Result<()> {
    let selected = sites.iter().filter(|site| config.sites.contains(site));
    let largest = selected.map(|site| site.inputs.min(site.outputs)).max();
    match largest.filter(|largest| *largest < config.rank) {
        None => Ok(()),
        Some(largest) => Err(Error::Invalid(format!(
            "`rank` is {}, and no layer of the selected `sites` has more than {largest} inputs and outputs",
            config.rank
        ))),
    }
}

pub(super) fn check_name<B: TrainBackend>(
    method: &dyn Method<B>,
    config: &TrainConfig,
) -> Result<()> {
    match method.name() == config.method {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "the settings say `method` = `{}`, but the concepts would be learnt with `{}`",
            config.method,
            method.name()
        ))),
    }
}

/// The step from which a concept's checkpoint goes on, if there is one.
pub(super) fn resume_at(
    bank: &Bank,
    id: &ConceptId,
    resume: bool,
    check: impl FnOnce(&CheckpointRecord) -> Result<()>,
) -> Result<Option<usize>> {
    match CheckpointRecord::find(bank, id)? {
        None => Ok(None),
        Some(record) if resume => check(&record).map(|()| Some(record.step)),
        Some(record) => Err(Error::Interrupted {
            bank: bank.path().into(),
            id: id.into(),
            step: record.step,
            checkpoint: bank.checkpoint_folder(id),
        }),
    }
}

fn check_protected(sites: &[Site], config: &TrainConfig) -> Result<()> {
    let nothing_left = |site: &&Site| {
        let protected = config.protected_at(site);
        config.sites.contains(site) && protected > 0 && config.directions_at(site) == 0
    };
    match sites.iter().find(nothing_left) {
        None => Ok(()),
        Some(site) => Err(Error::Invalid(format!(
            "`protected_directions` is {}, and {} has no more than {} directions",
            config.protected_directions,
            site.name,
            config.all_directions_at(site)
        ))),
    }
}

fn check_capacity(
    sites: &[Site],
    config: &TrainConfig,
    capacity: &CapacityPlan,
    id: &str,
) -> Result<()> {
    let selected = sites.iter().filter(|site| config.sites.contains(site)).count();
    let short: Vec<usize> = capacity.full.iter().chain(&capacity.shrunk).copied().collect();
    let nothing_left = capacity.full.len() == selected;
    match short.first() {
        Some(first) if config.strict_capacity || nothing_left => Err(Error::NoCapacity {
            id: id.into(),
            rank: config.rank,
            sites: short.len(),
            selected,
            first: sites[*first].name.clone(),
        }),
        _ => Ok(()),
    }
}
