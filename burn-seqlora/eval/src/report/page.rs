//! The page from top to bottom.

use super::charts::{coherence_map, colour, loss_curves, loss_range, score_bars, short};
use super::content::{RecordedRun, Report};
use super::gallery::{concept_name, concepts, method_name, overview, pairs};
use super::html::Html;
use super::summary::{MethodSummary, Summary};
use super::table::{duration, numbers};
use crate::{Direction, MetricInfo};

const STYLE: &str = include_str!("style.css");

/// What the bars of scores mean.
const BARS: &str = "Filled: at the end. Outline: just learnt. Dashed: the references, each against the others. \
                    Dotted: the base model asked for the class.";

/// Concepts whose curves can be told apart by colour.
const DISTINCT: usize = 12;

impl Report {
    /// The page.
    ///
    /// # Panics
    /// If images or losses are not as many as the summary's concepts and methods, or the summary has no
    /// metric or lacks a score.
    pub fn to_html(&self) -> String {
        document(self).to_string()
    }
}

/// The whole page.
fn document(report: &Report) -> Html {
    let title = Html::element("title", &[], [Html::text(&report.title)]);
    let head = Html::element(
        "head",
        &[],
        [
            Html::markup("<meta charset=\"utf-8\">"),
            Html::markup(
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            ),
            Html::markup("<meta name=\"color-scheme\" content=\"light dark\">"),
            title,
            Html::element("style", &[], [Html::markup(STYLE)]),
        ],
    );
    let body = Html::element("body", &[], [Html::element("main", &[], parts(report))]);
    let html = Html::element("html", &[("lang", &"en")], [head, body]);
    [Html::markup("<!doctype html>\n"), html, Html::markup("\n")].into_iter().collect()
}

fn parts(report: &Report) -> Vec<Html> {
    let summary = &report.summary;
    let primary = &summary.metrics[0].name;
    let pairs = (!report.pairs.is_empty()).then(|| {
        section(
            "Two concepts in one image",
            "The adapters of all concepts are added.",
            pairs(report),
        )
    });
    let gallery = format!(
        "The same prompts and the same noise, right after a concept was learnt and once all of them \
         were. The number is {primary}.",
    );
    let mut parts = vec![
        header(report),
        section("In numbers", &meaning(report), numbers(summary)),
        section("Just learnt, and at the end", &gallery, concepts(report)),
    ];
    parts.extend(pairs);
    parts.extend(report.recorded.as_ref().map(recorded));
    parts.extend([
        section(&format!("The {primary} of each concept"), BARS, bars(summary)),
        section(
            "Mutual coherence of concepts",
            "The largest entry of |BⱼᵀBᵢ| with unit columns over all layers, for each pair: 0 if they \
             are orthogonal, 1 if they share a direction.",
            coherence(summary),
        ),
        section("Loss", "Of every step, smoothed; one curve per concept.", losses(report)),
        section("How it was made", "", details(report)),
    ]);
    parts
}

/// The numbers of a run that was made before.
fn recorded(RecordedRun { source, summary }: &RecordedRun) -> Html {
    let heading =
        format!("Forgetting over {} concepts, from an earlier run", summary.concepts.len());
    let note = format!("Not from this run: {source} {BARS}");
    section(&heading, &note, [numbers(summary), bars(summary)].into_iter().collect())
}

fn bars(summary: &Summary) -> Html {
    [legend(summary), score_bars(summary)].into_iter().collect()
}

fn header(report: &Report) -> Html {
    let title = Html::element("h1", &[], [Html::text(&report.title)]);
    let lead = Html::element("p", &[("class", &"lead")], [Html::text(&report.lead)]);
    Html::element("header", &[], [title, lead, overview(report)])
}

fn section(heading: &str, note: &str, content: Html) -> Html {
    let heading = Html::element("h2", &[], [Html::text(heading)]);
    let note =
        (!note.is_empty()).then(|| Html::element("p", &[("class", &"note")], [Html::text(note)]));
    Html::element("section", &[], [heading].into_iter().chain(note).chain([content]))
}

/// What the columns of the table are.
fn meaning(report: &Report) -> String {
    let summary = &report.summary;
    let metric = |metric: &MetricInfo| {
        let better = match metric.better {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
        };
        format!("{}: {} ({better} is better). ", metric.name, metric.description)
    };
    let metrics: String = summary.metrics.iter().map(metric).collect();
    let count = summary.concepts.len();
    format!(
        "{metrics}Forgetting is how much worse a score is once all {count} concepts are learnt. {}",
        report.limits
    )
}

/// The titles of the methods, in their colours and order.
fn titles(summary: &Summary) -> impl Iterator<Item = Html> {
    summary.methods.iter().enumerate().map(|(place, method)| method_name(place, &method.title))
}

fn legend(summary: &Summary) -> Html {
    Html::element("p", &[("class", &"legend")], titles(summary))
}

fn concept_ids(summary: &Summary) -> Vec<&str> {
    summary.concepts.iter().map(|concept| concept.id.as_str()).collect()
}

fn coherence(summary: &Summary) -> Html {
    let ids = concept_ids(summary);
    let map = |(place, (name, m)): (usize, (Html, &MethodSummary))| {
        let caption = [name, Html::text(format!(" at most {}", short(m.max_overlap)))];
        let caption = Html::element("figcaption", &[], caption);
        let map = coherence_map(place, &m.title, &ids, &m.overlaps);
        Html::element("figure", &[], [caption, map])
    };
    let maps = titles(summary).zip(&summary.methods).enumerate().map(map);
    Html::element("div", &[("class", &"halves")], maps)
}

fn losses(report: &Report) -> Html {
    let ids = concept_ids(&report.summary);
    let range = loss_range(report.losses.iter().flatten());
    let figure = |((name, method), losses): ((Html, &MethodSummary), &Vec<Vec<f64>>)| {
        let caption = Html::element("figcaption", &[], [name]);
        Html::element("figure", &[], [caption, loss_curves(&method.title, &ids, losses, range)])
    };
    let methods = titles(&report.summary).zip(&report.summary.methods);
    let figures = methods.zip(&report.losses).map(figure);
    let figures = Html::element("div", &[("class", &"halves")], figures);
    let entry = |(number, id): (usize, &&str)| {
        let style = format!("background:{}", colour(number, ids.len()));
        let dot = Html::element("i", &[("style", &style)], []);
        Html::element("span", &[], [dot, concept_name(id)])
    };
    let entries =
        ids.iter().enumerate().map(entry).take(if ids.len() > DISTINCT { 0 } else { ids.len() });
    let legend = Html::element("p", &[("class", &"legend")], entries);
    [figures, legend].into_iter().collect()
}

fn details(report: &Report) -> Html {
    let Summary { base, device, seed, steps, sampling, seconds, made_by, metrics, .. } =
        &report.summary;
    let preprocessing = |metric: &MetricInfo| format!("{}: {}", metric.name, metric.preprocessing);
    let preprocessing: Vec<String> = metrics.iter().map(preprocessing).collect();
    let rows = [
        ("command", report.command.clone()),
        ("base model", base.clone()),
        ("steps", format!("{steps} minibatches per concept")),
        ("measured on", measured(report)),
        ("preprocessing", preprocessing.join("; ")),
        ("sampling", sampling.clone()),
        ("means", "over concepts, ± standard error; forgetting leaves the last concept out".into()),
        ("device, seed", format!("{device}, {seed}")),
        ("time", duration(*seconds)),
        ("made by", made_by.clone()),
    ];
    let row = |(term, text): (&str, String)| {
        let term = Html::element("dt", &[], [Html::text(term)]);
        [term, Html::element("dd", &[], [Html::text(text)])]
    };
    Html::element("dl", &[], rows.into_iter().flat_map(row))
}

fn measured(report: &Report) -> String {
    let measured = report.summary.images;
    let shown = report.concepts.first().map_or(0, |concept| concept.base.len());
    let text = format!("{measured} images per concept, method and stage");
    if shown < measured { format!("{text}, of which {shown} are shown") } else { text }
}
