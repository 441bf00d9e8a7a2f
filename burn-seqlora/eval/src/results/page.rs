//! `report.html`: everything on one page, with its images beside it.

use super::markdown::{arrow, columns, has_bounds, headings, lines, value};
use super::plots::plots;
use super::sheets::{Sheet, SheetSource, worst_first};
use super::summary::{EvaluationSummary, MeasureRow, MissingMetric};
use crate::MetricInfo;
use crate::protocol::{ImageGroup, MethodPlan, Protocol};
use crate::report::html::Html;

const STYLE: &str = include_str!("../report/style.css");

/// Sheets are as wide as their images need.
const SHEETS: &str = include_str!("sheets.css");

/// Concepts and pairs whose sheets are open; the others unfold.
const AT_ONCE: usize = 6;

/// Images below this side are shown with their pixels.
const SMALL: usize = 160;

/// The page of a run, whose images have `size` pixels; `references` are files of some references of each
/// concept. All files are relative to the page's folder.
pub fn page(
    summary: &EvaluationSummary,
    protocol: &Protocol,
    methods: &[MethodPlan],
    groups: &[ImageGroup],
    size: [usize; 2],
    references: &[Vec<String>],
) -> String {
    let source = SheetSource::new(protocol, methods, groups, references);
    let large = size.iter().all(|side| *side >= SMALL);
    let order = worst_first(summary);
    let concepts = order.into_iter().map(|concept| sheet(&source.of_concept(concept), large));
    let pairs = (0..protocol.pairs.len()).map(|pair| sheet(&source.of_pair(pair), large));
    let pairs = folded(pairs.collect(), "more pairs");
    let has_pairs = !protocol.pairs.is_empty();
    let pairs = has_pairs.then(|| section("Two concepts in one image", "The first seed.", pairs));
    let is_main = |(measure, _): &(String, String)| has_bounds(measure) || measure == "forgetting";
    let (main, others): (Vec<_>, Vec<_>) = headings(summary).into_iter().partition(is_main);
    let tables = main.into_iter().map(|(measure, heading)| {
        let heading = Html::element("h3", &[], [Html::text(heading)]);
        [heading, table(summary, &measure)].into_iter().collect::<Html>()
    });
    let tables = tables.chain((!others.is_empty()).then(|| further(summary, &others)));
    let parts = [
        header(summary),
        section("In numbers", &meaning(summary), tables.collect()),
        section("Plots", "", figures(summary)),
        section("Side by side", "The first prompt and seed.", sheet(&source.overview(), large)),
        section(
            "Concept by concept",
            "The first seed of every prompt; concepts that lost most come first.",
            folded(concepts.collect(), "more concepts"),
        ),
    ];
    let parts = parts.into_iter().chain(pairs).chain([details(summary)]);
    let title = Html::element("title", &[], [Html::text("Evaluation")]);
    let style = Html::element("style", &[], [Html::markup(STYLE), Html::markup(SHEETS)]);
    let scale = "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
    let head = [Html::markup("<meta charset=\"utf-8\">"), Html::markup(scale), title, style];
    let main = Html::element("main", &[], parts);
    let body = Html::element("body", &[], [main]);
    let head = Html::element("head", &[], head);
    let html = Html::element("html", &[("lang", &"en")], [head, body]);
    format!("<!doctype html>\n{html}\n")
}

fn header(summary: &EvaluationSummary) -> Html {
    let run = &summary.run;
    let methods: Vec<&str> = run.methods.iter().map(|method| method.name.as_str()).collect();
    let lead = format!(
        "{} concepts, {} images, by {}.",
        run.concepts.len(),
        run.images.planned,
        if methods.is_empty() { "the base model".into() } else { methods.join(", ") }
    );
    let mut notes: Vec<String> =
        run.deviations.iter().map(|d| format!("Not as in {}: {d}.", run.profile)).collect();
    let missing = |what: &str, MissingMetric { metric, reason }: &MissingMetric| {
        format!("{metric} {what}: {reason}.")
    };
    notes.extend(summary.skipped.iter().map(|metric| missing("is skipped", metric)));
    notes.extend(summary.failed.iter().map(|metric| missing("is incomplete", metric)));
    if run.images.failed > 0 {
        notes.push(format!("{} images could not be made.", run.images.failed));
    }
    let note = |text: String| Html::element("li", &[], [Html::text(text)]);
    Html::element(
        "header",
        &[],
        [
            Html::element("h1", &[], [Html::text("Evaluation")]),
            Html::element("p", &[("class", &"lead")], [Html::text(lead)]),
            Html::element("ul", &[("class", &"note")], notes.into_iter().map(note)),
        ],
    )
}

fn meaning(summary: &EvaluationSummary) -> String {
    let metrics: Vec<String> = summary
        .metrics
        .iter()
        .map(|metric| format!("{} {}: {}.", metric.name, arrow(metric.better), metric.description))
        .collect();
    format!(
        "{} Means ± standard errors over concepts, unless a table says otherwise; –: no number; *: some images \
         have no score.",
        metrics.join(" ")
    )
}

fn section(heading: &str, note: &str, content: Html) -> Html {
    let heading = Html::element("h2", &[], [Html::text(heading)]);
    let note =
        (!note.is_empty()).then(|| Html::element("p", &[("class", &"note")], [Html::text(note)]));
    Html::element("section", &[], [heading].into_iter().chain(note).chain([content]))
}

fn cell(tag: &'static str, text: String) -> Html {
    Html::element(tag, &[], [Html::text(text)])
}

fn table(summary: &EvaluationSummary, measure: &str) -> Html {
    let head = columns(summary, measure).into_iter().map(|metric| {
        let arrow = if has_bounds(measure) { arrow(metric.better) } else { "" };
        cell("th", format!("{} {arrow}", metric.name))
    });
    let head = Html::element("tr", &[], [cell("th", String::new())].into_iter().chain(head));
    let rows = lines(summary, measure).into_iter().map(|(name, rows)| {
        let cells = rows.into_iter().map(number);
        Html::element("tr", &[], [cell("th", name)].into_iter().chain(cells))
    });
    framed(head, rows.collect())
}

/// All other measures in one table, each below a line that says what it is.
fn further(summary: &EvaluationSummary, measures: &[(String, String)]) -> Html {
    let span = summary.metrics.len() + 1;
    let head = summary.metrics.iter().map(|metric| cell("th", metric.name.clone()));
    let head = Html::element("tr", &[], [cell("th", String::new())].into_iter().chain(head));
    let rows = measures.iter().flat_map(|(measure, heading)| {
        let heading = Html::element("td", &[("colspan", &span)], [Html::text(heading)]);
        let heading = Html::element("tr", &[("class", &"measure")], [heading]);
        let rows = summary.run.methods.iter().map(move |method| {
            let of = |metric: &MetricInfo| {
                number(summary.row(&metric.name, Some(&method.name), measure))
            };
            let cells = summary.metrics.iter().map(of);
            Html::element("tr", &[], [cell("th", method.name.clone())].into_iter().chain(cells))
        });
        [heading].into_iter().chain(rows)
    });
    let title = cell("h3", "Everything else".into());
    [title, framed(head, rows.collect())].into_iter().collect()
}

fn framed(head: Html, rows: Html) -> Html {
    let (head, body) = (Html::element("thead", &[], [head]), Html::element("tbody", &[], [rows]));
    let table = Html::element("table", &[], [head, body]);
    Html::element("div", &[("class", &"scroll")], [table])
}

/// A mean with its standard error; the interval shows under the pointer.
fn number(row: Option<&MeasureRow>) -> Html {
    let Some((mean, sem, incomplete)) = value(row) else { return cell("td", "–".into()) };
    let sem = sem.map(|sem| format!(" ± {sem}")).unwrap_or_default();
    let interval = row.and_then(|row| row.statistics?.interval);
    let note = interval.map(|[low, high]| format!("interval {low:.3} to {high:.3}"));
    let text = format!("{mean}{sem}{}", if incomplete { " *" } else { "" });
    Html::element("td", &[("title", &note.unwrap_or_default())], [Html::text(text)])
}

fn figures(summary: &EvaluationSummary) -> Html {
    let figure = |plot: super::plot::Plot| {
        let caption = Html::element("figcaption", &[], [Html::text(&plot.title)]);
        Html::element("figure", &[], [caption, plot.svg])
    };
    Html::element("div", &[("class", &"halves")], plots(summary).into_iter().map(figure))
}

fn sheet(sheet: &Sheet, large: bool) -> Html {
    let heading = Html::element("h3", &[], [Html::text(&sheet.title)]);
    let head = |text: &String| Html::element("th", &[], [Html::text(text)]);
    let empty = Html::element("th", &[], []);
    let head = [empty].into_iter().chain(sheet.columns.iter().map(head));
    let head = Html::element("thead", &[], [Html::element("tr", &[], head)]);
    let row = |(label, cells): &(String, Vec<Option<String>>)| {
        let cell = |(column, file): (usize, &Option<String>)| {
            let content = match file {
                Some(file) => {
                    let alternative = format!("{label}, {}", sheet.columns[column]);
                    let attributes: [(_, &dyn std::fmt::Display); 3] =
                        [("src", file), ("alt", &alternative), ("loading", &"lazy")];
                    Html::void("img", &attributes)
                }
                None => Html::element("span", &[("class", &"missing")], [Html::text("–")]),
            };
            Html::element("td", &[], [content])
        };
        let label = Html::element("th", &[], [Html::text(label)]);
        Html::element("tr", &[], [label].into_iter().chain(cells.iter().enumerate().map(cell)))
    };
    let body = Html::element("tbody", &[], sheet.rows.iter().map(row));
    let table = Html::element("table", &[], [head, body]);
    let class = if large { "sheet large" } else { "sheet" };
    Html::element("div", &[("class", &class)], [heading, table])
}

fn folded(mut sheets: Vec<Html>, more: &str) -> Html {
    let rest = sheets.split_off(sheets.len().min(AT_ONCE));
    let rest = (!rest.is_empty()).then(|| {
        let head = Html::element("summary", &[], [Html::text(format!("{} {more}", rest.len()))]);
        Html::element("details", &[], [head].into_iter().chain(rest))
    });
    sheets.into_iter().chain(rest).collect()
}

fn details(summary: &EvaluationSummary) -> Html {
    let run = &summary.run;
    let metric = |metric: &MetricInfo| {
        (metric.name.clone(), format!("{}; {}", metric.description, metric.preprocessing))
    };
    let rows = [
        ("base model".to_string(), run.base.clone()),
        ("profile".into(), run.profile.clone()),
        ("sampling".into(), format!("{}; {} images per prompt", run.sampling, run.seeds)),
        ("numbers".into(), "summary.json, per_concept.csv, per_image.csv, forgetting.csv, pairs.csv, table.md, table.tex, plots/".into()),
        ("made by".into(), run.made_by.clone()),
    ];
    let row = |(term, text): (String, String)| {
        let term = Html::element("dt", &[], [Html::text(term)]);
        [term, Html::element("dd", &[], [Html::text(text)])]
    };
    let rows = rows.into_iter().chain(summary.metrics.iter().map(metric));
    section("How it was made", "", Html::element("dl", &[], rows.flat_map(row)))
}

#[cfg(test)]
mod tests {
    use super::super::sheets::tests::references;
    use super::super::summarise::tests::summary;
    use super::*;
    use crate::protocol::images;
    use crate::protocol::tests_support::{method, protocol};

    #[test]
    fn the_page_has_every_sheet_and_needs_nothing_from_elsewhere() {
        let (protocol, methods) = (protocol(), [method("a"), method("b<")]);
        let groups = images(&protocol, &methods, Some("base"), [64, 64]);
        let html = page(&summary(), &protocol, &methods, &groups, [64, 64], &references());
        // The overview has 3 × 4, concepts 3 × 2 prompts × 5, the pair four.
        assert_eq!(html.matches("<img ").count(), 12 + 30 + 4);
        assert!(html.contains("src=\"images/") && html.contains("src=\"references/2-0.png\""));
        for outside in ["http:", "https:", "<script", "url(", "src=\"/", "src=\".."] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("b&lt;, all concepts") && !html.contains("b<,"), "names are text");
        assert!(html.contains("Not as in paper: steps: 2; paper has 50."));
        assert!(html.contains("dino is skipped: weights missing: x."));
        assert_eq!(html.matches("<svg ").count(), 4);
        assert_eq!(html.matches("<table").count(), html.matches("</table>").count());
    }
}
