//! One progress bar for the whole demo, with the remaining time.

use burn_seqlora::train::{Event, Flow};

use crate::interrupt;
use crate::progress::ProgressBar;
use crate::terminal::Terminal;

/// How far the demo is, in units of about one gradient of the loss.
pub struct Progress<'a> {
    terminal: &'a Terminal,
    bar: ProgressBar,
    done: f64,
    /// The concept in training.
    concept: String,
}

impl<'a> Progress<'a> {
    /// A bar that ends at `total`.
    pub fn new(terminal: &'a Terminal, total: f64) -> Self {
        let bar = terminal.share_bar("demo", total.ceil() as usize);
        Self { terminal, bar, done: 0.0, concept: String::new() }
    }

    /// More work is done.
    pub fn advance(&mut self, units: f64) {
        self.done += units;
        self.bar.set_position(self.done as u64);
    }

    /// Work was done in an earlier run; it does not count for the speed of this one.
    pub fn skip(&mut self, units: f64) {
        if units > 0.0 {
            self.advance(units);
            self.bar.reset_eta();
        }
    }

    /// Shows what is being done.
    pub fn message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// A line above the bar.
    pub fn line(&self, label: &str, text: String) {
        self.bar.suspend(|| self.terminal.line(label, text));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows an event of training, in which a step costs `cost`.
    pub fn show(&mut self, method: &str, cost: f64, event: Event) -> Flow {
        match event {
            Event::Start(plan) => {
                self.concept = format!("<{}> {method}", plan.data.id());
                self.skip(cost * plan.resume_at as f64);
            }
            Event::Step(report) => {
                self.advance(cost);
                let (concept, step, loss) = (&self.concept, report.step, report.loss);
                self.message(format!("{concept}  step {step}  loss {loss:.4}"));
            }
            Event::Learnt { id, training } => self.line(
                "learnt",
                format!(
                    "<{}> with {method}  loss {:.4} → {:.4}",
                    id, training.initial_loss, training.final_loss
                ),
            ),
            _ => {}
        }
        interrupt::flow()
    }
}
