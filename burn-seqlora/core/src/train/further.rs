//! Training a concept of the bank further.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::TrainBackend;
use serde_json::{Value, json};

use super::capacity::CapacityPlan;
use super::plan::{ConceptPlan, Examining, LearnPlan, check_name, resume_at};
use super::unfinished::check_nothing_unfinished;
use crate::bank::{Bank, ConceptId};
use crate::compose::Member;
use crate::data::{ConceptData, Examination};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::lora::{AdapterSet, Factors, Site};
use crate::methods::{Method, TrainState};
use crate::objective::ConceptParameters;
use crate::settings::TrainConfig;

/// What a concept is for the others, and the shape of its parameters: these settings stay.
const KEPT: [&str; 11] = [
    "method",
    "rank",
    "sites",
    "tokens",
    "base",
    "protected_directions",
    "common_prompts",
    "orthogonal_within",
    "subspace",
    "subspace_family",
    "continued_from",
];

/// The settings for training a concept of the bank further: those that it was trained with, for as many
/// minibatches once more.
///
/// # Errors
/// If it is not in the bank, its record is damaged, or another program trained it.
pub fn settings_of(bank: &Bank, id: &str) -> Result<TrainConfig> {
    let (_, training) = bank.concept(id)?;
    let known = training.settings.get("method").is_some();
    let config: TrainConfig =
        serde_json::from_value(training.settings).ok().filter(|_| known).ok_or_else(|| {
            Error::Invalid(format!(
                "`{id}` ({}) has no settings of a training here; only concepts that were learnt can be \
                 trained further",
                training.trained_by
            ))
        })?;
    let before = config.continued_from.unwrap_or(0);
    let steps = training.steps.saturating_add(config.steps.saturating_sub(before));
    Ok(TrainConfig { continued_from: Some(training.steps), steps, ..config })
}

/// Checks before anything expensive happens that a concept of the bank can be trained further on `data`, which
/// has its id. `config` is [`settings_of`] it, with changes. The concept keeps its ranks and its place in the order;
/// its B stays orthogonal to those of all others, earlier and later. Training begins at its parameters, with
/// optimizers that know nothing of the training before.
///
/// # Errors
/// If it is not in the bank or damaged, `config` or the data's class change what stays, an image cannot be used, a run is
/// unfinished and `resume` is not set, or was started with other settings, `resume` is set and there is none, or another
/// concept is being trained.
/// [`Error::Stopped`] if `progress` says so.
pub fn plan_further<'a, B: TrainBackend>(
    bank: &Bank,
    method: &dyn Method<B>,
    data: &'a dyn ConceptData,
    sites: &[Site],
    config: &TrainConfig,
    resume: bool,
    mut progress: impl FnMut(Examining) -> Flow,
) -> Result<LearnPlan<'a>> {
    config.validate()?;
    check_name(method, config)?;
    check_nothing_unfinished(bank, &[data.id()])?;
    let before = json!(settings_of(bank, data.id())?);
    check_kept(data.id(), &before, &json!(config))?;
    let id = ConceptId::new(data.id()).map_err(|e| Error::Invalid(e.to_string()))?;
    check_class(&bank.record(&id)?.class_word, data)?;
    data.check()?;
    let images = data.image_names().len();
    let Examination { digest: data_digest, largest_image, mask_coverage } =
        data.examine(&mut |done| progress(Examining { id: data.id(), done, images }))?;
    let resume_at = resume_at(bank, &id, resume, |record| {
        record.check(data.id(), config, &data_digest, &bank.earlier())
    })?;
    // To begin once more would train it further a second time.
    if resume && resume_at.is_none() {
        return Err(Error::Invalid(format!("`{id}` has no unfinished training to go on with")));
    }
    let ranks = bank.record(&id)?.ranks(sites);
    let concept = ConceptPlan {
        id,
        data,
        config: config.clone(),
        capacity: CapacityPlan { ranks, shrunk: Vec::new(), full: Vec::new() },
        resume_at: resume_at.or(config.continued_from).unwrap_or(0),
        data_digest,
        largest_image,
        mask_coverage,
    };
    Ok(LearnPlan { concepts: vec![concept], ..LearnPlan::default() })
}

/// Its captions and its words were learnt with its class.
fn check_class(class_word: &str, data: &dyn ConceptData) -> Result<()> {
    let (id, now) = (data.id(), data.class_word());
    match now == class_word {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "the class of `{id}` is `{class_word}`, and stays so when it is trained further; the data say `{now}`"
        ))),
    }
}

fn check_kept(id: &str, before: &Value, now: &Value) -> Result<()> {
    match KEPT.into_iter().find(|key| before[key] != now[key]) {
        None => Ok(()),
        Some(key) => Err(Error::Invalid(format!(
            "`{key}` is {}, and `{id}` keeps {} when it is trained further",
            now[key], before[key]
        ))),
    }
}

/// The state in which a concept of the bank is trained further.
///
/// # Errors
/// If a file of it is damaged.
pub(super) fn state<B: Backend>(
    bank: &Bank,
    plan: &ConceptPlan,
    sites: &[Site],
    device: &B::Device,
) -> Result<TrainState<B>> {
    let concept = Member::new(&*plan.id).concept(bank, sites)?;
    let factors =
        |site: &Site| concept.adapter.get(&site.name).map(|f| f.to_tensors(device)).unzip();
    let (up, down) = sites.iter().map(factors).unzip();
    let adapters = AdapterSet { up: Factors::new(up), down: Factors::new(down) };
    let (shape, values) = concept.embeddings;
    let embeddings = Some(Tensor::from_data(TensorData::new(values, shape), device));
    let parameters = ConceptParameters { adapters, embeddings };
    Ok(TrainState { step: plan.resume_at, ..TrainState::of(parameters) })
}
