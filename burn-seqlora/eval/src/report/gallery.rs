//! The images: concept by concept, and in pairs.

use image::RgbImage;

use super::charts::palette_class;
use super::content::{ConceptImages, PairImages, Report};
use super::html::Html;
use super::summary::{ConceptSummary, MethodSummary};

/// Concepts that are shown at once; the others unfold.
const AT_ONCE: usize = 12;

/// One reference of each of the first concepts.
pub fn hero(report: &Report) -> Html {
    let concepts = report.summary.concepts.iter().zip(&report.concepts).take(8);
    let portrait = |(concept, images): (&ConceptSummary, &ConceptImages)| {
        let image = images.references.first().map(|image| Html::image(image, &concept.id));
        let name = Html::element("figcaption", &[], [concept_name(&concept.id)]);
        Html::element("figure", &[], image.into_iter().chain([name]))
    };
    Html::element("div", &[("class", &"hero")], concepts.map(portrait))
}

/// The references of each concept, the base model's images of its class, and each method's images.
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
    let (summary, images) = (&report.summary, &report.concepts[number]);
    let (concept, metric) = (&summary.concepts[number], &summary.metrics[0].name);
    let class = Html::element("small", &[], [Html::text(&concept.class_word)]);
    let head = Html::element("h3", &[], [concept_name(&concept.id), Html::text(" "), class]);
    let bounds = concept.scores[metric];
    let before = [
        cell("references", bounds.references, &images.references, "reference"),
        cell("base model, asked for the class", Some(bounds.base), &images.base, "base model's"),
    ];
    let before = row(Html::element("span", &[("class", &"chip")], [Html::text("before")]), before);
    let of_method = |(place, method): (usize, &MethodSummary)| {
        let (images, title) = (&images.generated[place], &method.title);
        let score = method.concepts[number].scores[metric];
        let cells = [
            cell("just learnt", Some(score.learnt), &images.learnt, title),
            cell("at the end", Some(score.end), &images.end, title),
        ];
        row(method_name(place, title), cells)
    };
    let rows = summary.methods.iter().enumerate().map(of_method);
    Html::element("section", &[("class", &"concept")], [head, before].into_iter().chain(rows))
}

/// The same prompt by each method, side by side.
pub fn pairs(report: &Report) -> Html {
    let pair = |pair: &PairImages| {
        let prompt = Html::element("h3", &[], [Html::text(format!("“{}”", pair.prompt))]);
        let of_method = |(place, method): (usize, &MethodSummary)| {
            let images = strip(&pair.generated[place], &method.title);
            let children = [method_name(place, &method.title), images];
            Html::element("div", &[("class", &"cell")], children)
        };
        let cells = report.summary.methods.iter().enumerate().map(of_method);
        let cells = Html::element("div", &[("class", &"pair")], cells);
        Html::element("section", &[("class", &"concept")], [prompt, cells])
    };
    report.pairs.iter().map(pair).collect()
}

/// A concept as prompts name it.
pub fn concept_name(id: &str) -> Html {
    Html::element("code", &[], [Html::text(format!("<{id}>"))])
}

/// The title of the method at `place`, in its colour.
pub fn method_name(place: usize, title: &str) -> Html {
    let class = format!("chip method {}", palette_class(place));
    Html::element("span", &[("class", &class)], [Html::text(title)])
}

fn row(head: Html, cells: [Html; 2]) -> Html {
    Html::element("div", &[("class", &"row")], [head].into_iter().chain(cells))
}

fn cell(label: &str, score: Option<f64>, images: &[RgbImage], alternative: &str) -> Html {
    let score = score.map(|score| Html::element("b", &[], [Html::text(format!("{score:.2}"))]));
    let label = [Html::text(label), Html::text(" ")].into_iter().chain(score);
    let label = Html::element("p", &[("class", &"label")], label);
    Html::element("div", &[("class", &"cell")], [label, strip(images, alternative)])
}

fn strip(images: &[RgbImage], alternative: &str) -> Html {
    let image = |(n, image)| Html::image(image, &format!("{alternative} image {}", n + 1));
    let images = images.iter().enumerate().map(image);
    Html::element("div", &[("class", &"strip")], images)
}
