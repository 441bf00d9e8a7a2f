//! Methods against each other on the same concepts.

use super::measures::Measures;
use super::summary::Comparison;
use crate::protocol::ScoreKind;
use crate::statistics::{PairedDifference, holm};

/// What is compared: its name, and the value of a concept.
type Compared = (&'static str, fn(&Measures, usize) -> Option<f64>);

const COMPARED: [Compared; 2] = [
    ("end", |measures, concept| measures.of(ScoreKind::End, concept)),
    ("forgetting", |measures, concept| measures.counted_forgetting(concept)),
];

/// Every method against every later one, by every metric; `of_metrics[metric][method]`.
pub fn comparisons(of_metrics: &[Vec<Measures>]) -> Vec<Comparison> {
    let methods = of_metrics.first().map_or(0, Vec::len);
    let pairs =
        (0..methods).flat_map(|first| (first + 1..methods).map(move |second| [first, second]));
    let mut all = Vec::new();
    for (measure, [first, second]) in
        pairs.flat_map(|pair| COMPARED.map(|compared| (compared, pair)))
    {
        let mut family: Vec<Comparison> = of_metrics
            .iter()
            .filter_map(|methods| compare(measure, &methods[first], &methods[second]))
            .collect();
        let adjusted = holm(&family.iter().map(|c| c.paired.p).collect::<Vec<_>>());
        family.iter_mut().zip(adjusted).for_each(|(c, p)| c.p_holm = p);
        all.extend(family);
    }
    all
}

fn compare((name, value): Compared, first: &Measures, second: &Measures) -> Option<Comparison> {
    let concepts = 0..first.protocol.concepts.len();
    let both = concepts.filter_map(|c| Some((value(first, c)?, value(second, c)?)));
    let (of_first, of_second): (Vec<f64>, Vec<f64>) = both.unzip();
    let paired = PairedDifference::of(&of_first, &of_second, &first.protocol.bootstrap)?;
    Some(Comparison {
        metric: first.info.name.clone(),
        measure: name.into(),
        methods: [first, second].map(|measures| measures.plan.name.clone()),
        paired,
        p_holm: paired.p,
    })
}
