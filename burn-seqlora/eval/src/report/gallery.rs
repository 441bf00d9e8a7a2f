//! The pictures: concept by concept, and in pairs.

use image::RgbImage;

use super::charts::title;
use super::html::Html;
use super::{ConceptPictures, PairPictures, Report};

/// Concepts that are shown at once; the others unfold.
const AT_ONCE: usize = 12;

/// One reference of each of the first concepts.
pub fn hero(report: &Report) -> Html {
    let concepts = report.summary.concepts.iter().zip(&report.concepts).take(8);
    let portrait = |(concept, pictures): (&super::ConceptSummary, &ConceptPictures)| {
        let picture = pictures.references.first().map(|p| Html::picture(p, &concept.id));
        let name = Html::element("figcaption", &[], [name(&concept.id)]);
        Html::element("figure", &[], picture.into_iter().chain([name]))
    };
    Html::element("div", &[("class", &"hero")], concepts.map(portrait))
}

/// What each concept was shown, what the base model draws, and what each method makes of it.
pub fn concepts(report: &Report) -> Html {
    let mut cards: Vec<Html> = (0..report.concepts.len()).map(|n| concept(report, n)).collect();
    let folded = cards.split_off(cards.len().min(AT_ONCE));
    let rest = (!folded.is_empty()).then(|| {
        let more = Html::text(format!("{} more concepts", folded.len()));
        let more = Html::element("summary", &[], [more]);
        Html::element("details", &[], [more].into_iter().chain(folded))
    });
    cards.into_iter().chain(rest).collect()
}

fn concept(report: &Report, number: usize) -> Html {
    let (concept, pictures) = (&report.summary.concepts[number], &report.concepts[number]);
    let class = Html::element("small", &[], [Html::text(&concept.class_word)]);
    let head = Html::element("h3", &[], [name(&concept.id), Html::text(" "), class]);
    let before = [
        cell("references", Some(concept.ceiling), &pictures.references, "reference"),
        cell(
            "base model, asked for the class",
            Some(concept.floor),
            &pictures.base,
            "base model's",
        ),
    ];
    let before = row(Html::element("span", &[("class", &"chip")], [Html::text("before")]), before);
    let of_method = |(method, stages): (&String, &super::Stages)| {
        let numbers = report.summary.methods.get(method).map(|m| &m.concepts[number]);
        let learnt = numbers.map(|n| n.identity_learnt);
        let end = numbers.map(|n| n.identity_end);
        let cells = [
            cell("just learnt", learnt, &stages.learnt, title(method)),
            cell("at the end", end, &stages.end, title(method)),
        ];
        row(chip(method), cells)
    };
    let rows = pictures.generated.iter().map(of_method);
    Html::element("section", &[("class", &"concept")], [head, before].into_iter().chain(rows))
}

/// The same prompt by each method, side by side.
pub fn pairs(report: &Report) -> Html {
    let pair = |pair: &PairPictures| {
        let prompt = Html::element("h3", &[], [Html::text(format!("“{}”", pair.prompt))]);
        let cells = pair.generated.iter().map(|(method, pictures)| {
            Html::element(
                "div",
                &[("class", &"cell")],
                [chip(method), strip(pictures, title(method))],
            )
        });
        let cells = Html::element("div", &[("class", &"pair")], cells);
        Html::element("section", &[("class", &"concept")], [prompt, cells])
    };
    report.pairs.iter().map(pair).collect()
}

/// A concept as prompts name it.
pub fn name(id: &str) -> Html {
    Html::element("code", &[], [Html::text(format!("<{id}>"))])
}

/// A method's name in its colour.
pub fn chip(method: &str) -> Html {
    Html::element("span", &[("class", &format!("chip {method}"))], [Html::text(title(method))])
}

fn row(head: Html, cells: [Html; 2]) -> Html {
    Html::element("div", &[("class", &"row")], [head].into_iter().chain(cells))
}

fn cell(label: &str, score: Option<f64>, pictures: &[RgbImage], alternative: &str) -> Html {
    let score = score.map(|score| Html::element("b", &[], [Html::text(format!("{score:.2}"))]));
    let label = [Html::text(label), Html::text(" ")].into_iter().chain(score);
    let label = Html::element("p", &[("class", &"label")], label);
    Html::element("div", &[("class", &"cell")], [label, strip(pictures, alternative)])
}

fn strip(pictures: &[RgbImage], alternative: &str) -> Html {
    let picture =
        |(n, picture)| Html::picture(picture, &format!("{alternative} picture {}", n + 1));
    let pictures = pictures.iter().enumerate().map(picture);
    Html::element("div", &[("class", &"strip")], pictures)
}
