//! The images: concept by concept, and in pairs.

use image::RgbImage;

use super::charts::palette_class;
use super::content::{PairImages, Report};
use super::html::Html;
use super::summary::{ConceptSummary, MethodSummary};

/// Concepts that are shown at once; the others unfold.
const AT_ONCE: usize = 12;

/// Concepts of the overview.
const OVERVIEW: usize = 4;

/// The first concepts, a row for each: a reference, then each method's first image right after the concept
/// was learnt and at the end.
pub fn overview(report: &Report) -> Html {
    let methods = || report.summary.methods.iter().enumerate();
    let heads = methods().flat_map(|(place, method)| {
        ["just learnt", "after all"].map(|stage| {
            let stage = Html::element("small", &[], [Html::text(stage)]);
            Html::element("p", &[], [method_name(place, &method.title), stage])
        })
    });
    let head = [Html::element("p", &[], [Html::text("reference")])].into_iter().chain(heads);
    let concepts = report.summary.concepts.iter().zip(&report.concepts).take(OVERVIEW);
    let rows = concepts.flat_map(|(ConceptSummary { id, .. }, images)| {
        let reference = figure(images.references.first(), id, Some(concept_name(id)));
        let generated = methods().zip(&images.generated).flat_map(move |((_, method), stages)| {
            [&stages.learnt, &stages.end].map(|images| figure(images.first(), &method.title, None))
        });
        [reference].into_iter().chain(generated)
    });
    let columns = 1 + 2 * report.summary.methods.len();
    let columns = format!("grid-template-columns:repeat({columns},minmax(192px,1fr))");
    let grid =
        Html::element("div", &[("class", &"overview"), ("style", &columns)], head.chain(rows));
    Html::element("div", &[("class", &"wide")], [grid])
}

fn figure(image: Option<&RgbImage>, alternative: &str, name: Option<Html>) -> Html {
    let image = image.map(|image| Html::image(image, alternative));
    let name = name.map(|name| Html::element("figcaption", &[], [name]));
    Html::element("figure", &[], image.into_iter().chain(name))
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
    let described = (!images.described.is_empty()).then(|| {
        let label = "base model, told every part in words";
        cell(label, bounds.described, &images.described, "base model's")
    });
    let before = [
        cell("references", bounds.references, &images.references, "reference"),
        cell("base model, told the class", Some(bounds.base), &images.base, "base model's"),
    ];
    let before = before.into_iter().chain(described);
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
        let title = Html::element("h3", &[], [Html::text(&pair.title)]);
        let of_method = |(place, method): (usize, &MethodSummary)| {
            let images = strip(&pair.generated[place], &method.title);
            let children = [method_name(place, &method.title), images];
            Html::element("div", &[("class", &"cell")], children)
        };
        let cells = report.summary.methods.iter().enumerate().map(of_method);
        let cells = Html::element("div", &[("class", &"pair")], cells);
        Html::element("section", &[("class", &"concept")], [title, cells])
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

fn row(head: Html, cells: impl IntoIterator<Item = Html>) -> Html {
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
