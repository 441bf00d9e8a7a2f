//! What the evaluations of all seeds say together.

use burn_seqlora::eval::results::{ConceptRow, EvaluationSummary, PairRow};
use burn_seqlora::eval::statistics::{Bootstrap, Distribution, PairedDifference};
use burn_seqlora::eval::{Direction, MetricInfo};
use serde::Serialize;

/// A method by one metric: over all concepts of all seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    /// The metric.
    pub metric: String,
    /// Right after a concept was learnt.
    pub learnt: Option<Distribution>,
    /// With all concepts.
    pub end: Option<Distribution>,
    /// How much worse the second is than the first, without the last concept of a seed.
    pub forgetting: Option<Distribution>,
    /// The share of images that are closer to another concept of the class.
    pub confused: Option<Distribution>,
    /// The worse of two concepts in an image, by the prompt alone.
    pub pair: Option<Distribution>,
    /// The same with a box for each, in its own box.
    pub pair_cropped: Option<Distribution>,
    /// Images about nothing learnt against the base model's; the mean of each seed is one value.
    pub drift: Option<Distribution>,
    /// How much more images of the class alone look like the concept; the mean of each seed is one value.
    pub class_pull: Option<Distribution>,
    /// `end` of the first method minus that of this one, concept by concept.
    pub behind_the_first: Option<PairedDifference>,
}

/// The base model's and the references' scores by one metric.
#[derive(Debug, Clone, Serialize)]
pub struct Bounds {
    /// The metric.
    pub metric: String,
    /// The base model, asked for the class.
    pub floor: Option<Distribution>,
    /// Each reference against the others.
    pub ceiling: Option<Distribution>,
}

/// The evaluations of one comparison, one for each seed.
#[derive(Debug)]
pub struct Evaluations<'a>(pub Vec<&'a EvaluationSummary>);

impl Evaluations<'_> {
    /// What was measured.
    pub fn metrics(&self) -> &[MetricInfo] {
        &self.0[0].metrics
    }

    /// The bounds by a metric. They are the same for all methods, so any one's concepts have them.
    pub fn bounds(&self, metric: &MetricInfo, method: &str) -> Bounds {
        let of = |field: fn(&ConceptRow) -> Option<f64>| self.concepts(metric, method, field);
        Bounds {
            metric: metric.name.clone(),
            floor: summarised(of(|row| row.floor)),
            ceiling: summarised(of(|row| row.ceiling)),
        }
    }

    /// A method's scores by a metric. `last` says which concept each seed learnt last with it.
    pub fn scores(
        &self,
        metric: &MetricInfo,
        method: &str,
        first: &str,
        last: &[String],
    ) -> Scores {
        let of = |field: fn(&ConceptRow) -> Option<f64>| self.concepts(metric, method, field);
        let end = |method| self.concepts(metric, method, |row| row.end);
        let both = end(first).into_iter().zip(end(method));
        let (ours, its): (Vec<f64>, Vec<f64>) =
            both.filter_map(|(ours, its)| Some((ours?, its?))).unzip();
        let compared = (method != first).then(|| PairedDifference::of(&ours, &its, &bootstrap()));
        Scores {
            metric: metric.name.clone(),
            learnt: summarised(of(|row| row.learnt)),
            end: summarised(of(|row| row.end)),
            forgetting: summarised(self.forgetting(metric, method, last)),
            confused: summarised(of(|row| row.confused)),
            pair: summarised(self.pairs(metric, method, "prompt")),
            pair_cropped: summarised(self.pairs(metric, method, "cropped")),
            drift: self.means(metric, method, "drift"),
            class_pull: self.means(metric, method, "class_pull"),
            behind_the_first: compared.flatten(),
        }
    }

    /// Over the means of the seeds.
    fn means(&self, metric: &MetricInfo, method: &str, measure: &str) -> Option<Distribution> {
        summarised(self.0.iter().map(|summary| {
            Some(summary.row(&metric.name, Some(method), measure)?.statistics?.mean)
        }))
    }

    fn rows(&self, metric: &MetricInfo, method: &str) -> Vec<(usize, &ConceptRow)> {
        let seeds = self.0.iter().enumerate();
        let all = seeds.flat_map(|(seed, summary)| summary.concepts.iter().map(move |c| (seed, c)));
        all.filter(|(_, row)| row.metric == metric.name && row.method == method).collect()
    }

    fn concepts(
        &self,
        metric: &MetricInfo,
        method: &str,
        field: fn(&ConceptRow) -> Option<f64>,
    ) -> Vec<Option<f64>> {
        self.rows(metric, method).into_iter().map(|(_, row)| field(row)).collect()
    }

    fn forgetting(&self, metric: &MetricInfo, method: &str, last: &[String]) -> Vec<Option<f64>> {
        let rows = self.rows(metric, method).into_iter();
        rows.filter(|(seed, row)| row.concept != last[*seed]).map(|(_, c)| c.forgetting).collect()
    }

    fn pairs(&self, metric: &MetricInfo, method: &str, view: &str) -> Vec<Option<f64>> {
        let rows = self.0.iter().flat_map(|summary| &summary.pairs);
        let rows = rows.filter(|row| row.metric == metric.name && row.method == method);
        rows.filter(|row| row.view == view).map(|row| worse(metric, row)).collect()
    }
}

/// The worse of two concepts; the only score of a metric that compares with the prompt.
fn worse(metric: &MetricInfo, row: &PairRow) -> Option<f64> {
    let scores: Option<Vec<f64>> = row.scores.iter().copied().collect();
    scores?.into_iter().reduce(match metric.better {
        Direction::Higher => f64::min,
        Direction::Lower => f64::max,
    })
}

/// Over the values that there are.
fn summarised(values: impl IntoIterator<Item = Option<f64>>) -> Option<Distribution> {
    Distribution::of(&values.into_iter().flatten().collect::<Vec<_>>(), &bootstrap())
}

fn bootstrap() -> Bootstrap {
    Bootstrap::default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A seed's summary with two methods and two concepts, `a` and then `b`.
    fn summary(ends: [[f64; 2]; 2]) -> EvaluationSummary {
        let mut concepts = Vec::new();
        let mut pairs = Vec::new();
        for (method, ends) in ["ours", "theirs"].iter().zip(ends) {
            for (concept, (end, learnt)) in ["a", "b"].iter().zip(ends.iter().zip([0.9, ends[1]])) {
                concepts.push(json!({
                    "metric": "likeness", "method": method, "concept": concept, "floor": 0.1,
                    "learnt": learnt, "end": end, "forgetting": learnt - end, "ceiling": 1.0,
                    "class": null, "confused": null, "images": 1, "missing": 0,
                }));
            }
            pairs.push(json!({
                "metric": "likeness", "method": method, "concepts": ["a", "b"], "view": "cropped",
                "scores": ends,
            }));
        }
        let run = json!({
            "made_by": "", "base": "", "profile": "", "sampling": "", "deviations": [], "seeds": 1,
            "images": { "planned": 0, "failed": 0 }, "concepts": [], "methods": [],
        });
        let none = Value::Array(Vec::new());
        serde_json::from_value(json!({
            "version": 1, "run": run, "metrics": [metric()], "skipped": none, "failed": none,
            "rows": none, "comparisons": none, "concepts": concepts, "pairs": pairs,
            "confusions": none,
        }))
        .unwrap()
    }

    fn metric() -> MetricInfo {
        MetricInfo {
            name: "likeness".into(),
            unit: "share".into(),
            better: Direction::Higher,
            description: String::new(),
            preprocessing: String::new(),
        }
    }

    #[test]
    fn concepts_of_all_seeds_count_and_the_last_of_each_forgets_nothing() {
        let seeds = [[[0.8, 0.6], [0.5, 0.4]], [[0.7, 0.5], [0.3, 0.6]]].map(summary);
        let evaluations = Evaluations(seeds.iter().collect());
        let last = ["b", "b"].map(String::from);
        let ours = evaluations.scores(&metric(), "ours", "ours", &last);
        let theirs = evaluations.scores(&metric(), "theirs", "ours", &last);
        let close = |found: Option<Distribution>, count: usize, mean: f64| {
            let found = found.unwrap();
            assert!(found.count == count && (found.mean - mean).abs() < 1e-12, "{found:?}");
        };
        close(ours.end, 4, 0.65);
        close(ours.forgetting, 2, 0.15);
        close(theirs.forgetting, 2, 0.5);
        close(theirs.pair_cropped, 2, 0.35);
        assert!(ours.pair.is_none() && ours.drift.is_none() && ours.behind_the_first.is_none());
        let behind = theirs.behind_the_first.unwrap().difference;
        close(Some(behind), 4, 0.2);
        let bounds = evaluations.bounds(&metric(), "theirs");
        close(bounds.floor, 4, 0.1);
        close(bounds.ceiling, 4, 1.0);
    }
}
