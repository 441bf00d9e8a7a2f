//! The table of numbers: a row for each method, three columns for each metric.

use super::charts::short;
use super::gallery::method_name;
use super::html::Html;
use super::summary::{MethodScores, MethodSummary, PairScores, Summary};
use crate::MetricInfo;

/// The columns of each metric.
const COLUMNS: [&str; 3] = ["just learnt", "at the end", "forgetting"];

/// The columns of images of two concepts.
const PAIRS: [&str; 2] = ["by the prompt", "with boxes"];

/// Means over concepts of every metric and method.
pub fn numbers(summary: &Summary) -> Html {
    let rows = summary.methods.iter().enumerate().map(|(place, m)| row(&summary.metrics, place, m));
    let head = Html::element("thead", &[], head(&summary.metrics));
    let table = Html::element("table", &[], [head, Html::element("tbody", &[], rows)]);
    Html::element("div", &[("class", &"scroll")], [table])
}

/// A line with the metrics' names, and one with the columns of each.
fn head(metrics: &[MetricInfo]) -> [Html; 2] {
    let cell = |text: &str| Html::element("th", &[], [Html::text(text)]);
    let name = |metric: &MetricInfo| {
        let text = Html::text(format!("{} ({})", metric.name, metric.unit));
        Html::element("th", &[("colspan", &COLUMNS.len())], [text])
    };
    let pairs =
        Html::element("th", &[("colspan", &PAIRS.len())], [Html::text("both in one image")]);
    let last = [pairs, cell(""), cell("")];
    let names = [cell("")].into_iter().chain(metrics.iter().map(name)).chain(last);
    let columns = metrics.iter().flat_map(|_| COLUMNS).chain(PAIRS);
    let columns = columns.chain(["mutual coherence", "training"]);
    let columns = [cell("")].into_iter().chain(columns.map(cell));
    [Html::element("tr", &[], names), Html::element("tr", &[], columns)]
}

fn row(metrics: &[MetricInfo], place: usize, method: &MethodSummary) -> Html {
    let scores = metrics.iter().flat_map(|metric| {
        let MethodScores { learnt, end, forgetting } = method.scores[&metric.name];
        [learnt, end, forgetting].map(|estimate| estimate.to_string())
    });
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let pairs = method.pairs.map(|PairScores { prompt, boxes }| [prompt, boxes].map(percent));
    let pairs = pairs.unwrap_or_else(|| ["–"; 2].map(String::from));
    let texts = scores.chain(pairs).chain([short(method.max_overlap), duration(method.seconds)]);
    let cells = texts.map(|text| Html::element("td", &[], [Html::text(text)]));
    let name = Html::element("th", &[], [method_name(place, &method.title)]);
    Html::element("tr", &[], [name].into_iter().chain(cells))
}

/// Seconds in the units that people use.
pub fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::summary;

    #[test]
    fn every_line_has_all_columns() {
        let html = numbers(&summary()).to_string();
        let lines: Vec<&str> = html.split("<tr>").skip(1).collect();
        let cells = |line: &str, tag: &str| line.matches(&format!("<{tag}")).count();
        assert_eq!(lines.len(), 2 + 3);
        assert_eq!((cells(lines[0], "th"), lines[0].matches("colspan=\"3\"").count()), (6, 2));
        assert_eq!(cells(lines[1], "th"), 1 + 2 * 3 + 2 + 2);
        assert!(lines[2..].iter().all(|line| cells(line, "td") == 2 * 3 + 2 + 2), "{html}");
        assert!(lines[0].contains("distance (points)"), "{html}");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!([59.4, 75.0, 3723.0].map(duration), ["59 s", "1 min 15 s", "1 h 2 min"]);
    }
}
