//! Banks with a concept as it is after so many steps, for `evaluate` to compare.

use std::fs;
use std::path::{Component, Path, PathBuf, absolute};

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::HostConcept;
use burn_seqlora::error::{Error, Result};
use burn_seqlora::files::GuardedFolder;
use burn_seqlora::methods::Constraint;
use burn_seqlora::train::{ConceptPlan, Event, LearnPlan};

use super::folders;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Checks that what is kept does not go into the bank that is learnt into.
///
/// # Errors
/// If the folder, or its sub-folder of a concept, is the bank or lies inside of it, through links or not.
pub fn check_outside<'a>(
    folder: &Path,
    bank: &Path,
    mut ids: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    let bank_itself = real(bank);
    let is_inside = |folder: PathBuf| real(&folder).starts_with(&bank_itself);
    match is_inside(folder.into()) || ids.any(|id| is_inside(folder.join(id))) {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "--keep: {} is the bank {} itself or lies inside of it; choose another folder",
            folder.display(),
            bank.display()
        ))),
    }
}

/// A path without links, of something that need not be there yet.
fn real(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.into());
    for there in path.ancestors() {
        let Ok(mut real) = fs::canonicalize(there) else { continue };
        let rest = path.strip_prefix(there).expect("it is an ancestor");
        for part in rest.components() {
            match part {
                Component::ParentDir => {
                    real.pop();
                }
                part => real.push(part),
            }
        }
        return real;
    }
    path
}

/// Whether a folder holds what was kept after this step.
fn has_step_after(folder: &Path, step: usize) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut steps = names.filter_map(|name| name.to_str()?.parse::<usize>().ok());
    steps.any(|kept| kept > step)
}

/// Keeps each snapshot with the other concepts of its bank.
pub struct Keeper<'a> {
    folder: &'a Path,
    /// The bank that is learnt into.
    bank: PathBuf,
    /// What the method promises.
    constraint: Constraint,
    terminal: &'a Terminal,
}

impl<'a> Keeper<'a> {
    /// # Errors
    /// If there already is something where a concept that begins anew would go, unless a run is resumed that may have
    /// kept it before it was killed, before its first checkpoint; or if the folder cannot be written.
    pub fn new(
        folder: &'a Path,
        bank: &Bank,
        plan: &LearnPlan,
        resume: bool,
        constraint: Constraint,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        let begins = |concept: &&ConceptPlan| {
            concept.resume_at == concept.config.continued_from.unwrap_or(0)
        };
        let own = |concept: &ConceptPlan| folder.join(concept.id.as_str());
        let is_of_another = |concept: &&ConceptPlan| {
            // What a run of this bank has recorded of a concept stays when its state is given up.
            let began = bank.concept_folder(&concept.id).join("metrics.jsonl").exists();
            let checkpoint = concept.resume_at.saturating_add(concept.config.save_every);
            let is_own = began || !has_step_after(&own(concept), checkpoint);
            own(concept).exists() && !(resume && is_own)
        };
        let mut begin = plan.concepts.iter().filter(begins);
        if let Some(own) = begin.find(is_of_another).map(own) {
            let text = format!("--keep: {} is there already; choose another folder", own.display());
            return Err(Failure::Usage(text));
        }
        folders::check(folder, plan)?;
        Ok(Self { folder, bank: bank.path().into(), constraint, terminal })
    }

    /// Keeps what an event shows. What goes wrong is told, and training goes on.
    pub fn see(&self, event: &Event) {
        let Event::Snapshot { plan, step, concept } = event else { return };
        if let Err(error) = self.keep(plan, *step, concept) {
            let text = format!("<{}> at step {step} is not kept: {error}", concept.id);
            self.terminal.warning(text);
        }
    }

    fn keep(&self, plan: &ConceptPlan, step: usize, concept: &HostConcept) -> Result<()> {
        let inside = Path::new(&concept.id).join(format!("{step:06}"));
        let folder = GuardedFolder::new(self.folder).check(inside)?;
        let partial = folder.with_extension("partial");
        // By the run that this one goes on from, after its checkpoint.
        for old in [&folder, &partial].into_iter().filter(|old| old.exists()) {
            fs::remove_dir_all(old).map_err(Error::io("cannot remove", old))?;
        }
        let bank = Bank::open(&self.bank)?;
        let mut kept = Bank::open_or_create(&partial, bank.base(), bank.sites())?;
        for id in bank.concepts().iter().filter(|id| **id != plan.id) {
            let (record, training) = bank.concept(id)?;
            let embeddings = bank.embeddings(&record)?;
            kept.append(record, &training, &bank.adapter(id)?, embeddings)?;
        }
        let method = plan.config.method.as_str();
        let training = plan.training(method, step, [f64::NAN; 2]);
        let record = plan.record(concept, self.constraint);
        kept.append(record, &training, &concept.adapter, concept.embeddings.clone())?;
        drop(kept);
        // A process that is killed leaves no bank that lacks a concept.
        fs::rename(&partial, &folder).map_err(Error::io("cannot rename", &partial))
    }
}
