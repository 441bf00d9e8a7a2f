//! Learning one concept after another: the order of the paper, from a plan to the bank.

use seqlora_kernels::TrainBackend;

use super::checkpoint;
use super::concept_run::ConceptRun;
use super::event::Event;
use super::keep_going::{give_up, is_final, is_of_one_concept};
use super::plan::{ConceptPlan, LearnPlan};
use super::prompts;
use crate::bank::{Bank, ConceptId, TrainingRecord};
use crate::error::Result;
use crate::flow::Flow;
use crate::methods::Method;
use crate::model::DiffusionModel;

/// Trains the planned concepts one after the other and adds each to the bank. With [`LearnPlan::keep_going`], one whose
/// images cannot be read or whose loss is not finite is left out, which an event tells.
///
/// Returns `false` if an event's receiver stopped the run; if a step was done, its state is then on disk.
///
/// # Errors
/// If a loss is not finite or an image cannot be used (unless the run keeps going), a prompt cannot be used, the disk is
/// full, or somebody removed the bank meanwhile.
pub fn learn<B, M>(
    model: &M,
    bank: &mut Bank,
    method: &dyn Method<B>,
    plan: &LearnPlan,
    mut events: impl FnMut(Event) -> Flow,
) -> Result<bool>
where
    B: TrainBackend,
    M: DiffusionModel<B>,
{
    for concept in &plan.concepts {
        prompts::check(model, concept.data, &concept.config)?;
    }
    let mut failed = plan.failed_ids();
    let mut is_as_planned = true;
    for (number, concept) in plan.concepts.iter().enumerate() {
        let (id, every) = (concept.data.id(), plan.snapshot_every);
        let replanned = match is_as_planned {
            true => None,
            false => Some(concept.replanned(bank, method, model.sites())?),
        };
        let concept = replanned.as_ref().unwrap_or(concept);
        let learnt = learn_concept(model, bank, method, concept, &mut failed, every, &mut events);
        let flow = match learnt {
            Ok(None) => return Ok(false),
            Ok(Some(training)) => events(Event::Learnt { id, training: &training }),
            Err(error) if plan.keep_going && is_of_one_concept(&error) => {
                is_as_planned = false;
                match is_final(&error) {
                    true => give_up(bank, [concept.id.clone()])?,
                    false => failed.push(concept.id.clone()),
                }
                events(Event::Failed { id, error: &error })
            }
            Err(error) => return Err(error),
        };
        let more = number + 1 < plan.concepts.len();
        if flow == Flow::Stop && more {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Trains a concept and adds it to the bank. Once its images could be read, what was begun of those that failed before
/// is given up. Returns `None` if an event's receiver stopped it.
fn learn_concept<B, M>(
    model: &M,
    bank: &mut Bank,
    method: &dyn Method<B>,
    concept: &ConceptPlan,
    failed: &mut Vec<ConceptId>,
    snapshot_every: Option<usize>,
    events: &mut impl FnMut(Event) -> Flow,
) -> Result<Option<TrainingRecord>>
where
    B: TrainBackend,
    M: DiffusionModel<B>,
{
    if events(Event::Start(concept)) == Flow::Stop {
        return Ok(None);
    }
    let run = ConceptRun::<B, M>::new(model, bank, method, concept)?;
    let mut state = run.begin(bank)?;
    give_up(bank, failed.drain(..))?;
    if events(Event::Ready { initial_loss: state.initial_loss }) == Flow::Stop {
        return Ok(None);
    }
    let is_new = state.step == concept.config.continued_from.unwrap_or(0);
    // A run that was stopped after this step may not have shown it.
    let is_last = state.step == concept.config.steps;
    let is_shown = |every: usize| is_new || is_last || state.step.is_multiple_of(every.max(1));
    if snapshot_every.is_some_and(is_shown) && run.snapshot(&state, events) == Flow::Stop {
        return Ok(None);
    }
    let flow = run.train(&mut state, bank, snapshot_every, events);
    // A bank that is gone explains why something cannot be written.
    let flow = flow.or_else(|error| checkpoint::check_bank(bank).and(Err(error)))?;
    match flow {
        Flow::Stop => Ok(None),
        Flow::Continue => run.finish(state, bank).map(Some),
    }
}
