//! Tables for spreadsheets: comma-separated values with a header.

use super::score_table::ScoreTable;
use super::summary::EvaluationSummary;
use crate::MetricInfo;
use crate::protocol::{MethodPlan, ScoreSet};

/// A line; a field is quoted if its end would not be clear. A field that a spreadsheet would take for a
/// formula begins with an apostrophe.
fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let field = |field: &str| {
        let is_number = field.parse::<f64>().is_ok();
        let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
        let field = format!("{}{field}", if formula { "'" } else { "" });
        match field.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field,
        }
    };
    let fields: Vec<String> = fields.into_iter().map(field).collect();
    fields.join(",") + "\n"
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// `per_concept.csv`: a line for each metric, method and concept.
pub fn concepts_csv(summary: &EvaluationSummary) -> String {
    let head = line([
        "metric",
        "method",
        "concept",
        "floor",
        "learnt",
        "end",
        "forgetting",
        "ceiling",
        "class",
        "confused",
        "images",
        "missing",
    ]);
    let rows = summary.concepts.iter().map(|row| {
        let numbers =
            [row.floor, row.learnt, row.end, row.forgetting, row.ceiling, row.class, row.confused];
        let numbers = numbers.map(number);
        let counts = [row.images, row.missing].map(|count| count.to_string());
        let names = [&row.metric, &row.method, &row.concept];
        line(names.into_iter().chain(&numbers).chain(&counts).map(String::as_str))
    });
    head + &rows.collect::<String>()
}

/// `forgetting.csv`: concepts in the order of learning, as each method had it.
pub fn forgetting_csv(summary: &EvaluationSummary, methods: &[MethodPlan]) -> String {
    let head = line(["metric", "method", "order", "concept", "learnt", "end", "forgetting"]);
    let mut rows = Vec::new();
    for row in summary.concepts.iter().filter(|row| row.forgetting.is_some()) {
        let concept = summary.run.concepts.iter().position(|c| c.id == row.concept);
        let method = methods.iter().position(|method| method.name == row.method);
        let (Some(concept), Some(method)) = (concept, method) else { continue };
        let place = methods[method].places.get(concept).copied().unwrap_or(0);
        rows.push((row.metric.clone(), method, place, row));
    }
    rows.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    let rows = rows.into_iter().map(|(metric, _, place, row)| {
        let numbers = [row.learnt, row.end, row.forgetting].map(number);
        let order = (place + 1).to_string();
        line(
            [&metric, &row.method, &order, &row.concept]
                .into_iter()
                .chain(&numbers)
                .map(String::as_str),
        )
    });
    head + &rows.collect::<String>()
}

/// `pairs.csv`: a line for each metric, method, pair and view.
pub fn pairs_csv(summary: &EvaluationSummary) -> String {
    let head = line(["metric", "method", "first", "second", "view", "score_first", "score_second"]);
    let rows = summary.pairs.iter().map(|row| {
        let scores = [0, 1].map(|member| number(row.scores.get(member).copied().flatten()));
        let [first, second] = &row.concepts;
        let names = [&row.metric, &row.method, first, second, &row.view];
        line(names.into_iter().chain(&scores).map(String::as_str))
    });
    head + &rows.collect::<String>()
}

/// `per_image.csv`: every score, with the image that it is of.
pub fn images_csv(
    summary: &EvaluationSummary,
    metrics: &[MetricInfo],
    sets: &[ScoreSet],
    table: &ScoreTable,
) -> String {
    let mut text =
        line(["metric", "kind", "method", "subject", "number", "image", "score", "missing"]);
    for (metric, info) in metrics.iter().enumerate() {
        for set in sets {
            let scores = table.get(metric, set.kind, set.method, set.subject).unwrap_or_default();
            let images = set.sections.iter().flat_map(|section| &section.images);
            let kind = serde_json::to_value(set.kind).expect("a kind is JSON");
            let kind = kind.as_str().map_or_else(|| kind.to_string(), String::from);
            let method = set.method.map_or("", |method| &summary.run.methods[method].name);
            for (place, (image, score)) in images.zip(scores).enumerate() {
                let missing = score.as_ref().err().map_or("", String::as_str);
                let (score, place) = (number(score.as_ref().ok().copied()), place.to_string());
                let (subject, image) = (set.subject.to_string(), image.name());
                text += &line([
                    info.name.as_str(),
                    &kind,
                    method,
                    &subject,
                    &place,
                    &image,
                    &score,
                    missing,
                ]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::summarise::tests::summary;
    use super::*;
    use crate::protocol::tests_support::method;

    #[test]
    fn fields_are_quoted_and_no_formula_runs() {
        assert_eq!(line(["a", "b,c", "d\"e", "-0.5", "=1+1"]), "a,\"b,c\",\"d\"\"e\",-0.5,'=1+1\n");
    }

    #[test]
    fn every_concept_and_pair_has_its_line() {
        let concepts = concepts_csv(&summary());
        assert_eq!(concepts.lines().count(), 1 + 2 * 3);
        let rex = concepts.lines().nth(1).unwrap();
        assert!(rex.starts_with("likeness,a,rex,0.2,0.6,0.5,0.0999"), "{rex}");
        assert!(rex.ends_with(",0.25,4,1"), "{rex}");
        let pairs = pairs_csv(&summary());
        assert_eq!(pairs.lines().nth(1), Some("likeness,a,rex,mug,prompt,0.3,0.5"));
        let forgetting = forgetting_csv(&summary(), &[method("a"), method("b<")]);
        let order: Vec<&str> = forgetting.lines().skip(1).take(3).map(|l| &l[..16]).collect();
        assert_eq!(order, ["likeness,a,1,bob", "likeness,a,2,rex", "likeness,a,3,mug"]);
    }
}
