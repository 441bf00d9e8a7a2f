//! The second stage: scores that are not there yet.

use burn_seqlora::eval::protocol::{ImageSource, ScoreSet};
use burn_seqlora::eval::results::{MissingMetric, ScoreTable};
use burn_seqlora::eval::store::{ImageState, Library, score};
use burn_seqlora::eval::{Metric, MetricError, MetricInfo};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::ops::release_tape;
use burn_seqlora::scorers::external::ExternalError;

use super::metrics::Metrics;
use super::session::Session;
use crate::failure::Failure;

/// All scores, and what has none.
pub struct Scored {
    pub metrics: Vec<MetricInfo>,
    pub table: ScoreTable,
    pub skipped: Vec<MissingMetric>,
    /// Metrics that broke off.
    pub failed: Vec<MissingMetric>,
    /// Sets whose images other parts make.
    pub left: usize,
}

impl Session<'_> {
    /// Scores the sets of this part by all metrics.
    pub fn score<B: KernelBackend>(
        &self,
        Metrics { metrics, skipped }: Metrics,
    ) -> Result<Scored, Failure> {
        for MissingMetric { metric, reason } in &skipped {
            self.terminal.line("skipped", format!("{metric}: {reason}"));
        }
        let applies = |metric: &dyn Metric, set: &&ScoreSet| set.kind.applies(metric.needs());
        let counts = metrics
            .iter()
            .map(|metric| self.own_sets().filter(|set| applies(metric.as_ref(), set)).count());
        let bar = self.terminal.bar("score", counts.sum(), "sets");
        let mut scored = Scored {
            metrics: metrics.iter().map(|metric| metric.as_ref().into()).collect(),
            table: ScoreTable::default(),
            skipped,
            failed: Vec::new(),
            left: 0,
        };
        let is_part = self.shard().count > 1;
        for (number, metric) in metrics.iter().enumerate() {
            let mut broken = false;
            for set in self.own_sets().filter(|set| applies(metric.as_ref(), set)) {
                bar.inc(1);
                if is_part && !self.is_made(set)? {
                    scored.left += 1;
                    continue;
                }
                let protocol = self.protocol();
                let there = self.run.scores(metric.as_ref(), set, protocol)?;
                let scores = match there {
                    Some(scores) => scores,
                    None if broken => continue,
                    None => match self.score_set(metric.as_ref(), set)? {
                        Ok(scores) => scores,
                        Err(error) => {
                            broken = true;
                            let reason = error.to_string();
                            let warning = format!("{}: {reason}", metric.name());
                            bar.suspend(|| self.terminal.warning(warning));
                            scored
                                .failed
                                .push(MissingMetric { metric: metric.name().into(), reason });
                            continue;
                        }
                    },
                };
                release_tape::<B>();
                scored.table.insert(number, set, scores);
            }
        }
        bar.finish_and_clear();
        Ok(scored)
    }

    /// The sets of this part: those about its images, and of references the first part's.
    fn own_sets(&self) -> impl Iterator<Item = &ScoreSet> {
        self.sets.iter().filter(|set| self.shard().has(set.group.unwrap_or(0)))
    }

    fn score_set(
        &self,
        metric: &dyn Metric,
        set: &ScoreSet,
    ) -> Result<Result<Vec<burn_seqlora::eval::store::Scored>, MetricError>, Failure> {
        let library = Library { run: &self.run, references: &self.data.references };
        let scores = score(metric, set, &library, &concerns_one_image)?;
        if let Ok(scores) = &scores {
            self.run.add_scores(metric, set, self.protocol(), scores)?;
        }
        Ok(scores)
    }

    /// Whether every image of a set was made or has failed.
    fn is_made(&self, set: &ScoreSet) -> Result<bool, Failure> {
        let sections = set.sections.iter();
        for image in sections.flat_map(|section| section.images.iter().chain(&section.references)) {
            let (ImageSource::Generated(key) | ImageSource::Cropped(key, _)) = image else {
                continue;
            };
            if self.run.state(key)? == ImageState::Missing {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a metric goes on after an error.
fn concerns_one_image(error: &MetricError) -> bool {
    match error {
        MetricError::NotFinite { .. } => true,
        MetricError::Other(error) => {
            matches!(error.downcast_ref(), Some(ExternalError::Item { .. }))
        }
        _ => false,
    }
}
