//! The page from top to bottom.

use super::Report;
use super::charts::{colour, identity_bars, loss_curves, loss_range, overlap_map, short};
use super::gallery::{chip, concepts, hero, name, pairs};
use super::html::Html;
use super::summary::{MethodSummary, Summary};

const STYLE: &str = include_str!("style.css");

/// Concepts whose curves can be told apart by colour.
const DISTINCT: usize = 12;

/// The whole page.
pub fn document(report: &Report) -> Html {
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
    let pairs = (!report.pairs.is_empty()).then(|| {
        section(
            "Two in one picture",
            "Both concepts stand in the prompt, and all adapters are added.",
            pairs(report),
        )
    });
    let mut parts = vec![
        header(report),
        section("In numbers", &meaning(summary), numbers(summary)),
        section(
            "Just learnt, and at the end",
            "The same prompts and the same noise, right after a concept was learnt and once all of \
             them were. The number is identity: the judge's similarity to the references, 1 at most.",
            concepts(report),
        ),
    ];
    parts.extend(pairs);
    parts.extend([
        section(
            "Identity of each concept",
            "Filled: at the end. Outline: just learnt. Dashed: how well the references agree among \
             each other. Dotted: the base model asked for the class.",
            [legend(summary), identity_bars(summary)].into_iter().collect(),
        ),
        section(
            "Where concepts overlap",
            "The largest entry of |BⱼᵀBᵢ| with unit columns over all layers, for each pair: 0 if no \
             direction is shared, 1 if one is the same.",
            overlaps(summary),
        ),
        section(
            "Loss",
            "Of every step, smoothed; one curve per concept.",
            losses(report),
        ),
        section("How it was made", "", details(report)),
    ]);
    parts
}

fn header(report: &Report) -> Html {
    let title = Html::element("h1", &[], [Html::text(&report.title)]);
    let lead = Html::element("p", &[("class", &"lead")], [Html::text(&report.lead)]);
    Html::element("header", &[], [title, lead, hero(report)])
}

fn section(heading: &str, note: &str, content: Html) -> Html {
    let heading = Html::element("h2", &[], [Html::text(heading)]);
    let note =
        (!note.is_empty()).then(|| Html::element("p", &[("class", &"note")], [Html::text(note)]));
    Html::element("section", &[], [heading].into_iter().chain(note).chain([content]))
}

fn meaning(summary: &Summary) -> String {
    format!(
        "Identity is how similar generated pictures are to the references as {} sees them, 1 at most. \
         Forgetting is what is lost of it once all {} concepts are learnt.",
        summary.judge,
        summary.concepts.len(),
    )
}

fn numbers(summary: &Summary) -> Html {
    let heads = [
        "",
        "identity, just learnt",
        "identity, at the end",
        "forgetting",
        "recognised at the end",
        "largest overlap",
        "training",
    ];
    let heads = heads.map(|head| Html::element("th", &[], [Html::text(head)]));
    let row = |(method, m): (&String, &MethodSummary)| {
        let texts = [
            m.identity_learnt.to_string(),
            m.identity_end.to_string(),
            m.forgetting.to_string(),
            format!("{:.0} %", 100.0 * m.recognised_end),
            short(m.max_overlap),
            duration(m.seconds),
        ];
        let cells = texts.into_iter().map(|text| Html::element("td", &[], [Html::text(text)]));
        let name = Html::element("th", &[], [chip(method)]);
        Html::element("tr", &[], [name].into_iter().chain(cells))
    };
    let head = Html::element("thead", &[], [Html::element("tr", &[], heads)]);
    let body = Html::element("tbody", &[], summary.methods.iter().map(row));
    let table = Html::element("table", &[], [head, body]);
    Html::element("div", &[("class", &"scroll")], [table])
}

fn legend(summary: &Summary) -> Html {
    Html::element("p", &[("class", &"legend")], summary.methods.keys().map(|m| chip(m)))
}

fn overlaps(summary: &Summary) -> Html {
    let ids: Vec<&str> = summary.concepts.iter().map(|c| c.id.as_str()).collect();
    let map = |(method, m): (&String, &MethodSummary)| {
        let caption = [chip(method), Html::text(format!(" at most {}", short(m.max_overlap)))];
        let caption = Html::element("figcaption", &[], caption);
        Html::element("figure", &[], [caption, overlap_map(method, &ids, &m.overlaps)])
    };
    Html::element("div", &[("class", &"halves")], summary.methods.iter().map(map))
}

fn losses(report: &Report) -> Html {
    let ids: Vec<&str> = report.summary.concepts.iter().map(|c| c.id.as_str()).collect();
    let range = loss_range(report.losses.values().flatten());
    let figure = |(method, losses): (&String, &Vec<Vec<f64>>)| {
        let caption = Html::element("figcaption", &[], [chip(method)]);
        Html::element("figure", &[], [caption, loss_curves(method, &ids, losses, range)])
    };
    let figures = Html::element("div", &[("class", &"halves")], report.losses.iter().map(figure));
    let entry = |(number, id): (usize, &&str)| {
        let style = format!("background:{}", colour(number, ids.len()));
        let dot = Html::element("i", &[("style", &style)], []);
        Html::element("span", &[], [dot, name(id)])
    };
    let entries =
        ids.iter().enumerate().map(entry).take(if ids.len() > DISTINCT { 0 } else { ids.len() });
    let legend = Html::element("p", &[("class", &"legend")], entries);
    [figures, legend].into_iter().collect()
}

fn details(report: &Report) -> Html {
    let Summary { base, judge, device, seed, steps, sampling, seconds, made_by, .. } =
        &report.summary;
    let rows = [
        ("command", report.command.clone()),
        ("base model", base.clone()),
        ("judge", judge.clone()),
        ("steps", format!("{steps} minibatches per concept")),
        ("measured on", measured(report)),
        ("sampling", sampling.clone()),
        ("means", "over concepts, ± standard error; forgetting leaves the last concept out".into()),
        (
            "recognised",
            "share of pictures that the judge finds closest to their own concept".into(),
        ),
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
    let measured = report.summary.pictures;
    let shown = report.concepts.first().map_or(0, |concept| concept.base.len());
    let text = format!("{measured} pictures per concept, method and time");
    if shown < measured { format!("{text}, of which {shown} are shown") } else { text }
}

fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}
