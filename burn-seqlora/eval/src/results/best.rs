//! Which method is the best, as of several snapshots of one concept.

use super::summary::{Best, MeasureRow};
use crate::{Direction, MetricInfo};

/// What methods are chosen by: concepts with all concepts in the model.
const MEASURE: &str = "end";

/// The best method by each metric by which several have a number; the first of equal ones. `seeds` are the images of a
/// prompt.
pub fn best(rows: &[MeasureRow], metrics: &[MetricInfo], seeds: usize) -> Vec<Best> {
    metrics.iter().filter_map(|metric| best_by(rows, metric, seeds)).collect()
}

/// A method with its mean and the interval of that.
struct Candidate<'a> {
    method: &'a str,
    mean: f64,
    interval: Option<[f64; 2]>,
}

fn best_by(rows: &[MeasureRow], metric: &MetricInfo, seeds: usize) -> Option<Best> {
    let rows = rows.iter().filter(|row| row.metric == metric.name && row.measure == MEASURE);
    let mut candidates: Vec<Candidate> = rows.filter_map(|row| candidate(row, seeds)).collect();
    candidates.sort_by(|a, b| match metric.better {
        Direction::Higher => b.mean.total_cmp(&a.mean),
        Direction::Lower => a.mean.total_cmp(&b.mean),
    });
    let [first, second, ..] = &candidates[..] else { return None };
    Some(Best {
        metric: metric.name.clone(),
        measure: MEASURE.into(),
        methods: [first, second].map(|candidate| candidate.method.to_string()),
        means: [first.mean, second.mean],
        overlap: first.interval.zip(second.interval).map(|(a, b)| a[0] <= b[1] && b[0] <= a[1]),
    })
}

/// A row as a candidate. One concept has no interval over concepts: then it is two standard errors over seeds to each
/// side.
fn candidate(row: &MeasureRow, seeds: usize) -> Option<Candidate<'_>> {
    let (method, statistics) = (row.method.as_deref()?, row.statistics?);
    let mean = statistics.mean;
    let of_seeds = row.seed_std.map(|std| {
        let error = std / (seeds as f64).sqrt();
        [mean - 2.0 * error, mean + 2.0 * error]
    });
    Some(Candidate { method, mean, interval: statistics.interval.or(of_seeds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Distribution;

    fn likeness(better: Direction) -> MetricInfo {
        MetricInfo {
            name: "likeness".into(),
            unit: "cosine".into(),
            better,
            description: "by hand".into(),
            preprocessing: "none".into(),
        }
    }

    /// A row of a method with one concept, and four seeds of this spread.
    fn row(method: &str, mean: f64, seed_std: Option<f64>) -> MeasureRow {
        MeasureRow {
            metric: "likeness".into(),
            method: Some(method.into()),
            measure: MEASURE.into(),
            over: "concepts".into(),
            statistics: Some(Distribution { count: 1, mean, std: None, sem: None, interval: None }),
            seed_std,
            missing: 0,
        }
    }

    fn best_of(better: Direction, seed_std: Option<f64>) -> Best {
        let rows = [("100", 0.5), ("200", 0.7), ("300", 0.65)];
        let mut rows = rows.map(|(name, mean)| row(name, mean, seed_std)).to_vec();
        // The base model is no candidate.
        rows.push(MeasureRow { method: None, ..row("", 0.9, None) });
        let found = best(&rows, &[likeness(better)], 4);
        assert_eq!(found.len(), 1);
        found[0].clone()
    }

    #[test]
    fn the_direction_decides() {
        let high = best_of(Direction::Higher, None);
        assert_eq!((high.methods, high.means), (["200".into(), "300".into()], [0.7, 0.65]));
        assert_eq!(best_of(Direction::Lower, None).methods, ["100", "300"]);
    }

    #[test]
    fn intervals_overlap_or_not() {
        // The means are 0.05 apart, and two standard errors of four seeds are their spread.
        let overlap = |std| best_of(Direction::Higher, std).overlap;
        assert_eq!(overlap(Some(0.02)), Some(false));
        assert_eq!(overlap(Some(0.03)), Some(true));
        assert_eq!(overlap(None), None);
    }

    #[test]
    fn a_single_method_is_not_chosen() {
        let found = best(&[row("100", 0.5, None)], &[likeness(Direction::Higher)], 4);
        assert!(found.is_empty());
    }
}
