//! What is shown while concepts are learnt, and when they are.

use std::time::{Duration, Instant};

use burn_seqlora::bank::{Bank, TrainingRecord, max_overlap};
use burn_seqlora::train::{Event, Examining, Flow};
use serde_json::json;

use super::failures::Failures;
use crate::failure::Failure;
use crate::interrupt::{self, Hold};
use crate::progress::ProgressBar;
use crate::terminal::{Terminal, seconds, table};

/// The bar of the concept in training, and what became of the ones before.
pub struct Progress<'a> {
    terminal: &'a Terminal,
    bar: ProgressBar,
    started: Instant,
    /// Steps since the last checkpoint would be lost.
    hold: Option<Hold>,
    learnt: Vec<(String, TrainingRecord, Duration)>,
}

impl<'a> Progress<'a> {
    /// Before the first concept.
    pub fn new(terminal: &'a Terminal) -> Self {
        let bar = ProgressBar::hidden();
        Self { terminal, bar, started: Instant::now(), hold: None, learnt: Vec::new() }
    }

    /// Shows an event; training stops after Ctrl-C.
    pub fn show(&mut self, event: Event) -> Flow {
        match event {
            Event::Start(plan) => {
                self.started = Instant::now();
                self.hold = None;
                self.bar = self.terminal.bar(plan.data.id(), plan.config.steps, "steps");
                self.bar.set_position(plan.resume_at as u64);
                self.bar.reset_eta();
                self.bar.set_message("encodes images".to_string());
                let before = plan.config.continued_from.unwrap_or(0);
                if plan.resume_at > before {
                    self.terminal
                        .line("resume", format!("{} at step {}", plan.data.id(), plan.resume_at));
                }
            }
            Event::Ready { initial_loss } => {
                self.hold = Some(interrupt::hold());
                self.bar.set_message(format!("loss {initial_loss:.4}"));
            }
            Event::Step(report) => {
                self.bar.set_message(format!(
                    "loss {:.4}  |∇F| {:.2e}  overlap {:.0e}",
                    report.loss, report.hypergradient, report.overlap
                ));
                self.bar.set_position(report.step as u64);
            }
            Event::EmbeddingsFrozen { norm, limit } => self.bar.suspend(|| {
                self.terminal.line(
                    "tokens",
                    format!("stay as they are: their norm {norm:.2} has reached {limit}"),
                );
            }),
            Event::Learnt { id, training } => {
                self.hold = None;
                self.bar.finish_and_clear();
                let took = self.started.elapsed();
                self.terminal.line(
                    "learnt",
                    format!(
                        "<{}>  loss {:.4} → {:.4}  {}",
                        id,
                        training.initial_loss,
                        training.final_loss,
                        seconds(took)
                    ),
                );
                self.learnt.push((id.to_string(), training.clone(), took));
            }
            Event::Failed { id, error } => {
                self.hold = None;
                self.bar.finish_and_clear();
                self.terminal.line("failed", format!("<{id}>  {error}"));
            }
            Event::Snapshot { .. } | Event::Saved(_) => {}
        }
        interrupt::flow()
    }
}

/// Shows how far the pass over the data's files is that a plan begins with.
pub fn examined<T, E>(
    terminal: &Terminal,
    plan: impl FnOnce(&mut dyn FnMut(Examining) -> Flow) -> Result<T, E>,
) -> Result<T, E> {
    let bar = terminal.bar("images", 0, "images");
    let result = plan(&mut |Examining { done, images, .. }| {
        bar.set_length(images as u64);
        bar.set_position(done as u64);
        // Nothing is held, so Ctrl-C ends the program.
        Flow::Continue
    });
    bar.finish_and_clear();
    result
}

/// What was learnt in this run.
pub fn report(
    bank: &Bank,
    progress: &Progress,
    failures: &Failures,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let overlap = max_overlap(bank)?;
    let concepts: Vec<_> = progress
        .learnt
        .iter()
        .map(|(id, record, took)| {
            json!({
                "id": id,
                "steps": record.steps,
                "initial_loss": record.initial_loss,
                "final_loss": record.final_loss,
                "seconds": took.as_secs_f64(),
            })
        })
        .collect();
    let result = json!({
        "bank": bank.path().to_string_lossy(),
        "concepts": concepts,
        "failed": failures.json(),
        "max_overlap": overlap,
    });
    terminal.result(&result, || {
        let head = ["concept", "loss before", "after", "steps", "time"].map(String::from).to_vec();
        let row = |(id, record, took): &(String, TrainingRecord, Duration)| {
            vec![
                id.clone(),
                format!("{:.4}", record.initial_loss),
                format!("{:.4}", record.final_loss),
                record.steps.to_string(),
                seconds(*took),
            ]
        };
        let rows = [vec![head], progress.learnt.iter().map(row).collect()].concat();
        format!(
            "{}\n{} concepts in the bank, largest overlap {overlap:.1e}{}",
            table(&rows),
            bank.concepts().len(),
            failures.text()
        )
    })
}
