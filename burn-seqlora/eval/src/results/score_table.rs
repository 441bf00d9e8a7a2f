//! All scores of a run, by what they say.

use std::collections::BTreeMap;

use crate::protocol::{ScoreKind, ScoreSet};
use crate::store::Scored;

/// What scores are found by: metric, kind, method, subject.
type Key = (usize, ScoreKind, Option<usize>, usize);

/// The scores of all metrics; a set without scores is not there.
#[derive(Debug, Clone, Default)]
pub struct ScoreTable {
    scores: BTreeMap<Key, Vec<Scored>>,
}

impl ScoreTable {
    /// Adds the scores of a set by the metric of this number.
    pub fn insert(&mut self, metric: usize, set: &ScoreSet, scores: Vec<Scored>) {
        self.scores.insert((metric, set.kind, set.method, set.subject), scores);
    }

    /// The scores of a set; `None` if the metric does not apply to it, or broke off before.
    pub fn get(
        &self,
        metric: usize,
        kind: ScoreKind,
        method: Option<usize>,
        subject: usize,
    ) -> Option<&[Scored]> {
        self.scores.get(&(metric, kind, method, subject)).map(Vec::as_slice)
    }

    /// The mean of the scores of a set, over the images that have one.
    pub fn mean(
        &self,
        metric: usize,
        kind: ScoreKind,
        method: Option<usize>,
        subject: usize,
    ) -> Option<f64> {
        mean(self.get(metric, kind, method, subject)?.iter().flatten().copied())
    }

    /// The images of a set that have no score.
    pub fn missing(
        &self,
        metric: usize,
        kind: ScoreKind,
        method: Option<usize>,
        subject: usize,
    ) -> usize {
        let scores = self.get(metric, kind, method, subject).unwrap_or_default();
        scores.iter().filter(|score| score.is_err()).count()
    }

    /// Everything in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &[Scored])> {
        self.scores.iter().map(|(key, scores)| (*key, scores.as_slice()))
    }
}

/// The mean of numbers, if there are any.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / count as f64)
}
