//! From a table of scores to the summary.

use std::collections::BTreeMap;

use super::best::best;
use super::comparisons::comparisons;
use super::measures::{Measured, Measures};
use super::score_table::ScoreTable;
use super::summary::{
    ConceptRow, Confusion, EvaluationSummary, MeasureRow, MissingMetric, PairRow, RunInfo,
};
use crate::MetricInfo;
use crate::protocol::{MethodPlan, Protocol, ScoreKind};
use crate::statistics::Distribution;

/// The numbers of a run. `failed` and `skipped` are the metrics that broke off, and those without weights.
pub fn summarise(
    run: RunInfo,
    protocol: &Protocol,
    methods: &[MethodPlan],
    metrics: &[MetricInfo],
    table: &ScoreTable,
    [skipped, failed]: [Vec<MissingMetric>; 2],
) -> EvaluationSummary {
    let measures = |(metric, info)| {
        let of = |(method, plan)| Measures { protocol, table, metric, info, method, plan };
        methods.iter().enumerate().map(of).collect()
    };
    let of_metrics: Vec<Vec<Measures>> = metrics.iter().enumerate().map(measures).collect();
    let all = || of_metrics.iter().flatten();
    let bounds = metrics.iter().enumerate().flat_map(|(n, info)| bounds(protocol, table, n, info));
    let rows: Vec<MeasureRow> = bounds.chain(all().flat_map(rows)).collect();
    EvaluationSummary {
        version: EvaluationSummary::VERSION,
        best: best(&rows, metrics, run.seeds),
        run,
        metrics: metrics.to_vec(),
        skipped,
        failed,
        rows,
        comparisons: comparisons(&of_metrics),
        concepts: all().flat_map(concept_rows).collect(),
        pairs: all().flat_map(pair_rows).collect(),
        confusions: all().flat_map(confusions).collect(),
    }
}

/// The base model and the references.
fn bounds(
    protocol: &Protocol,
    table: &ScoreTable,
    metric: usize,
    info: &MetricInfo,
) -> Vec<MeasureRow> {
    let row = |(name, kind): (&str, ScoreKind)| {
        let concepts = 0..protocol.concepts.len();
        let values = concepts.clone().filter_map(|concept| table.mean(metric, kind, None, concept));
        let values: Vec<f64> = values.collect();
        let missing = concepts.map(|concept| table.missing(metric, kind, None, concept)).sum();
        (!values.is_empty() || missing > 0).then(|| MeasureRow {
            metric: info.name.clone(),
            method: None,
            measure: name.into(),
            over: "concepts".into(),
            statistics: Distribution::of(&values, &protocol.bootstrap),
            seed_std: None,
            missing,
        })
    };
    [("floor", ScoreKind::Floor), ("ceiling", ScoreKind::Ceiling)]
        .into_iter()
        .filter_map(row)
        .collect()
}

fn rows(measures: &Measures) -> Vec<MeasureRow> {
    let row = |Measured { name, over, values, missing }: Measured| MeasureRow {
        metric: measures.info.name.clone(),
        method: Some(measures.plan.name.clone()),
        over: over.into(),
        statistics: Distribution::of(&values, &measures.protocol.bootstrap),
        seed_std: measures.seed_std().filter(|_| name == "end"),
        measure: name,
        missing,
    };
    measures.all().into_iter().map(row).collect()
}

fn concept_rows(measures: &Measures) -> Vec<ConceptRow> {
    let Measures { protocol, table, metric, info, method, plan } = *measures;
    let row = |concept: usize| {
        let scored = table.get(metric, ScoreKind::End, Some(method), concept).unwrap_or_default();
        let missing = [ScoreKind::Learnt, ScoreKind::End, ScoreKind::Class];
        let missing = missing.map(|kind| table.missing(metric, kind, Some(method), concept));
        ConceptRow {
            metric: info.name.clone(),
            method: plan.name.clone(),
            concept: protocol.concepts[concept].id.clone(),
            floor: measures.floor(concept),
            learnt: measures.of(ScoreKind::Learnt, concept),
            end: measures.of(ScoreKind::End, concept),
            forgetting: measures.forgetting(concept),
            ceiling: measures.ceiling(concept),
            class: measures.of(ScoreKind::Class, concept),
            confused: measures.confused(concept),
            images: scored.iter().flatten().count(),
            missing: missing.into_iter().sum(),
        }
    };
    (0..protocol.concepts.len()).map(row).collect()
}

fn pair_rows(measures: &Measures) -> Vec<PairRow> {
    let views = [("prompt", false, false), ("boxes", true, false), ("cropped", true, true)];
    let row = |(pair, (view, boxes, cropped)): (usize, (&str, bool, bool))| {
        let scores = measures.pair_scores(pair, boxes, cropped);
        let concepts = measures.protocol.pairs[pair].concepts;
        (!scores.is_empty()).then(|| PairRow {
            metric: measures.info.name.clone(),
            method: measures.plan.name.clone(),
            concepts: concepts.map(|concept| measures.protocol.concepts[concept].id.clone()),
            view: view.into(),
            scores,
        })
    };
    let pairs = 0..measures.protocol.pairs.len();
    pairs.flat_map(|pair| views.map(|view| (pair, view))).filter_map(row).collect()
}

/// A matrix for each class of which there are several concepts.
fn confusions(measures: &Measures) -> Vec<Confusion> {
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, concept) in measures.protocol.concepts.iter().enumerate() {
        classes.entry(&concept.class_word).or_default().push(number);
    }
    let of_class = |(class, concepts): (&str, Vec<usize>)| {
        let row = |concept: &usize| measures.closest(*concept, &concepts);
        let shares = concepts.iter().map(row).collect::<Option<Vec<_>>>()?;
        let id = |concept: &usize| measures.protocol.concepts[*concept].id.clone();
        (concepts.len() > 1).then(|| Confusion {
            metric: measures.info.name.clone(),
            method: measures.plan.name.clone(),
            class_word: class.into(),
            concepts: concepts.iter().map(id).collect(),
            shares,
        })
    };
    classes.into_iter().filter_map(of_class).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::summary::{ConceptInfo, ImageCounts, MethodInfo};
    use super::*;
    use crate::Direction;
    use crate::protocol::tests_support::{method, protocol};
    use crate::protocol::{ScoreSet, Shift};
    use crate::store::Scored;

    pub fn info(name: &str, unit: &str, better: Direction) -> MetricInfo {
        MetricInfo {
            name: name.into(),
            unit: unit.into(),
            better,
            description: format!("{name}, by hand"),
            preprocessing: "none".into(),
        }
    }

    pub fn run_info() -> RunInfo {
        let method = |name: &str| MethodInfo { name: name.into(), concepts: 3, foreign: false };
        let concept = |id: &str, class_word: &str| ConceptInfo {
            id: id.into(),
            class_word: class_word.into(),
            references: 2,
            prompts: 2,
        };
        RunInfo {
            made_by: "test".into(),
            base: "base (f)".into(),
            profile: "paper".into(),
            sampling: "by hand".into(),
            deviations: vec!["steps: 2; paper has 50".into()],
            seeds: 2,
            images: ImageCounts { planned: 100, failed: 1 },
            concepts: vec![concept("rex", "dog"), concept("mug", "mug"), concept("bob", "dog")],
            methods: vec![method("a"), method("b<")],
        }
    }

    struct Filled(ScoreTable);

    impl Filled {
        fn set(&mut self, kind: ScoreKind, method: Option<usize>, subject: usize, scores: &[f64]) {
            // A NaN stands for an image without a score.
            let scored = |score: &f64| match score.is_nan() {
                true => Err("not finite".to_string()),
                false => Ok(*score),
            };
            let scores: Vec<Scored> = scores.iter().map(scored).collect();
            let set = ScoreSet { kind, method, subject, sections: Vec::new(), group: None };
            self.0.insert(0, &set, scores);
        }
    }

    /// Two methods on rex, mug and bob, learnt in the order bob, rex, mug; two prompts and two seeds.
    pub fn summary() -> EvaluationSummary {
        let mut table = Filled(ScoreTable::default());
        let concepts = 0..3;
        for concept in concepts {
            table.set(ScoreKind::Floor, None, concept, &[0.2; 4]);
            table.set(ScoreKind::Ceiling, None, concept, &[0.9, 0.7]);
        }
        for (method, lost) in [(0, 0.1), (1, 0.3)] {
            let method = Some(method);
            for (concept, learnt) in [(0, 0.6), (1, 0.5), (2, 0.7)] {
                let last = concept == 1;
                let end = if last { learnt } else { learnt - lost };
                table.set(ScoreKind::Learnt, method, concept, &[learnt; 4]);
                table.set(ScoreKind::End, method, concept, &[end - 0.05, end + 0.05, end, end]);
                table.set(ScoreKind::Class, method, concept, &[0.2, 0.3, 0.4, f64::NAN]);
                table.set(ScoreKind::Shifted(Shift::Blur), method, concept, &[end - 0.25; 4]);
            }
            table.set(ScoreKind::Other(2), method, 0, &[0.9, 0.1, 0.1, 0.1]);
            table.set(ScoreKind::Other(0), method, 2, &[0.1; 4]);
            table.set(ScoreKind::Drift, method, 0, &[0.8, 0.4]);
            for (member, score) in [(0, 0.3), (1, 0.5)] {
                let kind = ScoreKind::Pair { boxes: false, member, cropped: false };
                table.set(kind, method, 0, &[score; 2]);
            }
        }
        let mut protocol = protocol();
        protocol.shifts = vec![Shift::Blur];
        let metrics = [info("likeness", "cosine", Direction::Higher)];
        let methods = [method("a"), method("b<")];
        let missing = [("dino", "weights missing: x"), ("mock", "it ended")];
        let missing = missing.map(|(metric, reason)| {
            vec![MissingMetric { metric: metric.into(), reason: reason.into() }]
        });
        summarise(run_info(), &protocol, &methods, &metrics, &table.0, missing)
    }

    fn mean_of(summary: &EvaluationSummary, method: Option<&str>, measure: &str) -> f64 {
        let row = summary.row("likeness", method, measure);
        row.unwrap_or_else(|| panic!("no {measure}")).statistics.unwrap().mean
    }

    #[test]
    fn measures_of_a_hand_table() {
        let summary = summary();
        let close = |method, measure: &str, expected: f64| {
            let found = mean_of(&summary, method, measure);
            assert!((found - expected).abs() < 1e-12, "{measure}: {found}, not {expected}");
        };
        close(None, "floor", 0.2);
        close(None, "ceiling", 0.8);
        let a = Some("a");
        close(a, "learnt", 0.6);
        close(a, "end", (0.5 + 0.5 + 0.6) / 3.0);
        // Mug was learnt last and does not count.
        close(a, "forgetting", 0.1);
        close(Some("b<"), "forgetting", 0.3);
        assert_eq!(summary.row("likeness", a, "forgetting").unwrap().statistics.unwrap().count, 2);
        close(a, "gain", (0.3 + 0.3 + 0.4) / 0.6 / 3.0);
        close(a, "class_pull", 0.1);
        assert_eq!(summary.row("likeness", a, "class_pull").unwrap().missing, 3);
        // One of rex' four images is more like bob, none of bob's more like rex.
        close(a, "confused", 0.125);
        close(a, "margin", ((0.45 - 0.9 + 0.55 - 0.1 + 0.4 + 0.4) / 4.0 + 0.5) / 2.0);
        close(a, "shift_blur", 0.25);
        // One prompt with two seeds: (0.1 + 0.3) / 2.
        close(a, "drift", 0.2);
        close(a, "pair", 0.4);
        close(a, "pair_worse", 0.3);
        assert!(summary.is_incomplete());
        // Seeds: prompt 1 of rex has 0.45 and 0.55, all others the same.
        let std = summary.row("likeness", a, "end").unwrap().seed_std.unwrap();
        assert!((std - 0.05 / 2f64.sqrt()).abs() < 1e-12, "{std}");
    }

    #[test]
    fn methods_are_compared_on_the_same_concepts() {
        let summary = summary();
        let [end, forgetting] = &summary.comparisons[..] else { panic!("two comparisons") };
        assert_eq!((&end.measure[..], &end.methods), ("end", &["a".into(), "b<".into()]));
        assert!((end.paired.difference.mean - 0.4 / 3.0).abs() < 1e-12);
        assert!((forgetting.paired.difference.mean + 0.2).abs() < 1e-12);
        // Two differences of one sign: half of the four signs are as far.
        assert_eq!((forgetting.paired.p, forgetting.p_holm), (0.5, 0.5));
    }

    #[test]
    fn concepts_of_a_class_are_told_apart_or_not() {
        let summary = summary();
        let confusion = &summary.confusions[0];
        assert_eq!((&confusion.class_word[..], confusion.concepts.len()), ("dog", 2));
        assert_eq!(confusion.shares, [[0.75, 0.25], [0.0, 1.0]]);
        let row = &summary.concepts[0];
        assert_eq!((row.confused, row.images, row.missing), (Some(0.25), 4, 1));
        assert_eq!(summary.concepts[1].confused, None, "it is alone in its class");
    }

    #[test]
    fn it_survives_being_written_down() {
        let text = serde_json::to_string(&summary()).unwrap();
        assert_eq!(serde_json::from_str::<EvaluationSummary>(&text).unwrap(), summary());
    }
}
