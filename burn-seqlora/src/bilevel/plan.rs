//! What a run will do, found out before anything expensive happens.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::capacity::{CapacityPlan, plan_ranks};
use super::checkpoint::{self, CheckpointRecord};
use crate::adapter::Site;
use crate::adapter::directions::Columns;
use crate::bank::Bank;
use crate::config::{Method, TrainConfig};
use crate::data::{ConceptSource, ImageSource, Manifest};
use crate::error::{Error, Result};
use crate::text::next_placeholder;

/// What is about to be trained.
#[derive(Debug, Clone)]
pub struct LearnPlan {
    /// The concepts that are not in the bank yet, in order.
    pub concepts: Vec<ConceptPlan>,
    /// Concepts of the manifest that a resumed run finds in the bank.
    pub done: Vec<String>,
}

/// What is about to be trained for one concept.
#[derive(Debug, Clone)]
pub struct ConceptPlan {
    /// Where it comes from.
    pub source: ConceptSource,
    /// Its settings: the run's, with the manifest's own number of steps.
    pub config: TrainConfig,
    /// Its rank at each site.
    pub capacity: CapacityPlan,
    /// The step from which a checkpoint goes on.
    pub resume_at: usize,
    /// A digest of images, masks and captions.
    pub data_digest: String,
}

/// Checks a run before anything expensive happens: ids, capacity, checkpoints.
///
/// # Errors
/// If the bank belongs to another method, a concept is in the bank already, a run is unfinished and
/// `resume` is not set, settings have changed since or leave nothing of a layer, or capacity is
/// missing under `strict_capacity`.
pub fn plan(
    bank: &Bank,
    manifest: &Manifest,
    config: &TrainConfig,
    resume: bool,
) -> Result<LearnPlan> {
    config.validate()?;
    check_shared(bank.sites(), config)?;
    bank.check_method(config.method)?;
    let orthogonal = config.method.ingredients().orthogonal;
    let mut used: Vec<usize> =
        reserved(config.method, bank.occupied()?).iter().map(Columns::len).collect();
    let mut plan = LearnPlan { concepts: Vec::new(), done: Vec::new() };
    for source in &manifest.concepts {
        let config = TrainConfig { steps: source.steps.unwrap_or(config.steps), ..config.clone() };
        check_prompts(source)?;
        let data_digest = digest(source)?;
        if let Some(known) = bank.like(&source.id) {
            if !resume || known != source.id {
                let hint = ", or add --resume if it is from the same, interrupted run";
                return Err(Error::DuplicateConcept { id: known.into(), hint });
            }
            let before = bank.concept(&source.id)?;
            let before = (&before.config, before.data_digest.as_str());
            checkpoint::check_unchanged(&source.id, before, (&config, &data_digest))?;
            plan.done.push(source.id.clone());
            continue;
        }
        let capacity = plan_ranks(bank.sites(), &used, &config);
        check_capacity(bank, &config, &capacity, source)?;
        let resume_at = match CheckpointRecord::find(bank, &source.id)? {
            None => 0,
            Some(record) if resume => {
                let planned = plan.concepts.iter().map(|concept| &concept.source.id);
                let earlier: Vec<String> = bank.concepts().iter().chain(planned).cloned().collect();
                record.check(&source.id, &config, &data_digest, &earlier)?;
                record.step
            }
            Some(record) => {
                return Err(Error::Interrupted {
                    bank: bank.path().into(),
                    id: source.id.clone(),
                    step: record.step,
                    checkpoint: bank.checkpoint_folder(&source.id),
                });
            }
        };
        if orthogonal {
            used.iter_mut().zip(&capacity.ranks).for_each(|(used, rank)| *used += rank);
        }
        plan.concepts.push(ConceptPlan {
            source: source.clone(),
            config,
            capacity,
            resume_at,
            data_digest,
        });
    }
    Ok(plan)
}

/// The directions that a new concept has to leave to those that occupy them.
pub(super) fn reserved(method: Method, occupied: Vec<Columns>) -> Vec<Columns> {
    match method.ingredients().orthogonal {
        true => occupied,
        false => vec![Columns::new(); occupied.len()],
    }
}

fn check_shared(sites: &[Site], config: &TrainConfig) -> Result<()> {
    let nothing_left =
        |site: &&Site| config.sites.contains(site) && config.shared_at(site) >= site.inputs;
    match sites.iter().find(nothing_left) {
        None => Ok(()),
        Some(Site { name, inputs, .. }) => Err(Error::Invalid(format!(
            "`shared_directions` is {}, and {name} has no more than {inputs} inputs",
            config.shared_directions
        ))),
    }
}

fn check_capacity(
    bank: &Bank,
    config: &TrainConfig,
    capacity: &CapacityPlan,
    source: &ConceptSource,
) -> Result<()> {
    let selected = bank.sites().iter().filter(|site| config.sites.contains(site)).count();
    let short: Vec<usize> = capacity.full.iter().chain(&capacity.shrunk).copied().collect();
    let nothing_left = capacity.full.len() == selected;
    match short.first() {
        Some(first) if config.strict_capacity || nothing_left => Err(Error::NoCapacity {
            id: source.id.clone(),
            rank: config.rank,
            sites: short.len(),
            selected,
            first: bank.sites()[*first].name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Captions and templates may name no concept but their own.
fn check_prompts(source: &ConceptSource) -> Result<()> {
    let caption = |image: &ImageSource| Some((file_name(&image.path), image.caption.clone()?));
    let template = |template: &String| ("the manifest".to_string(), template.clone());
    let captions = source.images.iter().filter_map(caption);
    for (origin, text) in captions.chain(source.templates.iter().map(template)) {
        let mut rest = text.as_str();
        while let Some((_, id, after)) = next_placeholder(rest) {
            if id != source.id && id != "TOK" {
                return Err(Error::Prompt(format!(
                    "{origin}: `{text}` names <{id}>, but shows the concept `{}`; write {{}} or \
                     <{}> for it, and other words without < >",
                    source.id, source.id
                )));
            }
            rest = after;
        }
    }
    Ok(())
}

/// A digest of everything that a concept is learnt from.
fn digest(source: &ConceptSource) -> Result<String> {
    let mut hash = Sha256::new();
    let text = format!("{:?}|{}|{:?}", source.kind, source.class_word, source.templates);
    hash.update(text.as_bytes());
    for image in &source.images {
        for path in [Some(&image.path), image.mask.as_ref()].into_iter().flatten() {
            let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
            hash.update(Sha256::digest(bytes));
        }
        hash.update(Sha256::digest(image.caption.as_deref().unwrap_or_default()));
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
