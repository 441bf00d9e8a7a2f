//! `learn --keep-going`: the concepts that a run went on without.

use burn_seqlora::error::Error;
use burn_seqlora::train::{Event, FailedConcept};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::terminal::Terminal;

/// Ids, and why these concepts could not be learnt.
#[derive(Debug, Default)]
pub struct Failures(Vec<(String, String)>);

impl Failures {
    /// Those that a plan has found; shows each, because the end may be hours away.
    pub fn of(planned: &[FailedConcept], terminal: &Terminal) -> Self {
        let mut failures = Self::default();
        for FailedConcept { id, error } in planned {
            terminal.line("failed", format!("<{id}>  {error}"));
            failures.add(id, error);
        }
        failures
    }

    /// Notes a concept that failed while it was learnt.
    pub fn see(&mut self, event: &Event) {
        if let Event::Failed { id, error } = event {
            self.add(id, error);
        }
    }

    fn add(&mut self, id: &str, error: &Error) {
        self.0.push((id.to_string(), error.to_string()));
    }

    /// For machines.
    pub fn json(&self) -> Value {
        self.0.iter().map(|(id, error)| json!({ "id": id, "error": error })).collect()
    }

    /// For people, a line for each.
    pub fn text(&self) -> String {
        self.0.iter().map(|(id, error)| format!("\nfailed: <{id}>  {error}")).collect()
    }

    /// The end of a run that has shown its result.
    ///
    /// # Errors
    /// If a concept failed.
    pub fn check(&self) -> Result<(), Failure> {
        let ids: Vec<&str> = self.0.iter().map(|(id, _)| id.as_str()).collect();
        match ids.len() {
            0 => Ok(()),
            count => Err(Failure::Damaged(format!(
                "{count} of the concepts cannot be learnt: {}; the same command with --resume tries them again",
                ids.join(", ")
            ))),
        }
    }
}
