//! The charts of the report: scores, loss curves, mutual coherence.

use std::fmt::Write;

use super::html::Html;
use super::summary::{ConceptSummary, Summary};
use super::svg::{Plot, Px, drawing, label, label_left, line, rectangle, tooltip};
use crate::{Bounds, Stages};

/// Width of a chart that takes the whole page; half of it for those that share it.
const WIDTH: f64 = 1000.0;

/// Colours of methods in `style.css`.
const PALETTE: usize = 9;

/// The first metric's score of every concept: right after it was learnt as an outline, at the end
/// filled; those of the base model's images and of the references as lines.
pub fn score_bars(summary: &Summary) -> Html {
    let (metric, concepts) = (&summary.metrics[0], &summary.concepts);
    let bounds = |concept: &ConceptSummary| concept.scores[&metric.name];
    let plot = Plot {
        x: [44.0, WIDTH - 6.0],
        y: [280.0, 12.0],
        from_x: [0.0, concepts.len() as f64],
        from_y: score_range(summary),
    };
    let zero = plot.at_y(0.0);
    let names = names_fit(concepts.len());
    let group = |(number, concept): (usize, &ConceptSummary)| {
        let [left, right] = [0.12, 0.88].map(|share| plot.at_x(number as f64 + share));
        let width = (right - left) / summary.methods.len() as f64;
        let bars = summary.methods.iter().enumerate().flat_map(|(place, method)| {
            let Stages { learnt, end } = method.concepts[number].scores[&metric.name];
            let corner = left + place as f64 * width;
            let bar = |kind: &str, value: f64, when: &str| {
                let at = plot.at_y(value);
                let note = format!("{}, {}, {when}: {value:.3}", concept.id, method.title);
                let gap = (width * 0.08).min(3.0);
                let size = [width - 2.0 * gap, (zero - at).abs()];
                let class = format!("{kind} {}", palette_class(place));
                rectangle(&class, [corner + gap, at.min(zero)], size, &note)
            };
            [bar("bar", end, "at the end"), bar("ghost", learnt, "just learnt")]
        });
        let mark = |class, value| line(class, [left, plot.at_y(value)], [right, plot.at_y(value)]);
        let Bounds { base, references, .. } = bounds(concept);
        let references = references.map(|references| mark("references", references));
        let name = names.then(|| label([(left + right) / 2.0, 300.0], &concept.id));
        bars.chain(references).chain([mark("base", base)]).chain(name).collect::<Html>()
    };
    let bars = concepts.iter().enumerate().map(group);
    let height = if names { 308.0 } else { 290.0 };
    let name = format!("{} of each concept", metric.name);
    drawing([WIDTH, height], &name, [plot.grid()].into_iter().chain(bars))
}

/// From zero, or below it, to the largest of the first metric's scores.
fn score_range(summary: &Summary) -> [f64; 2] {
    let name = &summary.metrics[0].name;
    let learnt = summary.methods.iter().flat_map(|method| &method.concepts);
    let learnt = learnt.map(|concept| concept.scores[name]).flat_map(|s| [s.learnt, s.end]);
    let bounds = summary.concepts.iter().map(|concept| concept.scores[name]);
    let bounds = bounds.flat_map(|bounds| [Some(bounds.base), bounds.references]).flatten();
    let widen = |[low, high]: [f64; 2], score: f64| [low.min(score), high.max(score)];
    learnt.chain(bounds).fold([0.0, 0.0], widen)
}

/// One curve per concept, smoothed over a twentieth of the steps.
pub fn loss_curves(title: &str, ids: &[&str], losses: &[Vec<f64>], range: [f64; 2]) -> Html {
    let steps = losses.iter().map(Vec::len).max().unwrap_or(0);
    let plot = Plot {
        x: [48.0, WIDTH / 2.0 - 6.0],
        y: [230.0, 10.0],
        from_x: [1.0, steps.max(2) as f64],
        from_y: range,
    };
    let curve = |(number, losses): (usize, &Vec<f64>)| {
        let mut points = String::new();
        for (step, loss) in smooth(losses).into_iter().enumerate() {
            let (x, y) = (plot.at_x(step as f64 + 1.0), plot.at_y(loss));
            write!(points, "{},{} ", Px(x), Px(y)).expect("memory takes it");
        }
        let points = points.trim_end();
        let colour = format!("stroke:{}", colour(number, ids.len()));
        Html::element(
            "polyline",
            &[("class", &"curve"), ("style", &colour), ("points", &points)],
            [tooltip(ids[number])],
        )
    };
    let curves = losses.iter().enumerate().map(curve);
    let axis = [plot.grid(), label_left([plot.x[1], 250.0], &format!("{steps} steps"))];
    let name = format!("loss of each concept with {title}");
    drawing([WIDTH / 2.0, 256.0], &name, axis.into_iter().chain(curves))
}

/// The range in which the smoothed curves of all methods lie, so that they can be compared.
pub fn loss_range<'a>(losses: impl IntoIterator<Item = &'a Vec<f64>>) -> [f64; 2] {
    let smoothed: Vec<f64> = losses.into_iter().flat_map(|losses| smooth(losses)).collect();
    let low = smoothed.iter().copied().fold(f64::INFINITY, f64::min);
    let high = smoothed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { [low, high] } else { [0.0, 1.0] }
}

/// The mutual coherence of every pair, from empty at 0 to full at 1, in the colour of the method at
/// `place`.
pub fn coherence_map(place: usize, title: &str, ids: &[&str], coherence: &[Vec<f64>]) -> Html {
    let names = ids.len() <= 8;
    let left = if names { 110.0 } else { 6.0 };
    let side = (WIDTH / 2.0 - left - 6.0) / ids.len().max(1) as f64;
    let cell = |row: usize, column: usize| {
        let corner = [left + column as f64 * side, 6.0 + row as f64 * side];
        let gap = if names { 2.0 } else { 0.0 };
        let at = [corner[0] + gap, corner[1] + gap];
        let size = [side - 2.0 * gap; 2];
        if row == column {
            return rectangle("self", at, size, ids[row]);
        }
        let value = coherence[row][column];
        let note = format!("{} and {}: {value:.1e}", ids[row], ids[column]);
        // A fill too faint to be seen is left out: a map of 101 concepts has 10,000 cells.
        let frame = names.then(|| rectangle("frame", at, size, &note));
        let fill = (value >= 5e-4).then(|| {
            let shade = format!("fill-opacity:{:.3}", value.min(1.0));
            let bar = rectangle(&format!("bar {}", palette_class(place)), at, size, &note);
            Html::element("g", &[("style", &shade)], [bar])
        });
        let middle = [corner[0] + side / 2.0, corner[1] + side / 2.0 + 4.0];
        let number = || Html::element("g", &[("class", &"number")], [label(middle, &short(value))]);
        frame.into_iter().chain(fill).chain(names.then(number)).collect()
    };
    let row = |row: usize| {
        let name =
            names.then(|| label_left([left - 8.0, 10.0 + (row as f64 + 0.5) * side], ids[row]));
        let cells = (0..ids.len()).map(move |column| cell(row, column));
        cells.chain(name).collect::<Html>()
    };
    let name = format!("mutual coherence of each pair of concepts with {title}");
    let height = 12.0 + ids.len() as f64 * side;
    let border = rectangle("frame", [left, 6.0], [side * ids.len() as f64; 2], &name);
    drawing([WIDTH / 2.0, height], &name, [border].into_iter().chain((0..ids.len()).map(row)))
}

/// The colour of a concept's curve; hues are evenly spaced.
pub fn colour(number: usize, count: usize) -> String {
    format!("hsl({:.0} 65% 52%)", 360.0 * number as f64 / count.max(1) as f64)
}

/// The style sheet's class for the colour of the method at `place`; colours repeat after
/// [`PALETTE`] methods.
pub fn palette_class(place: usize) -> String {
    format!("m{}", place % PALETTE)
}

/// A number between 0 and 1 in a narrow cell.
pub fn short(value: f64) -> String {
    if value < 1e-3 { format!("{value:.0e}") } else { format!("{value:.2}") }
}

/// Whether the concepts' names fit side by side under bars.
fn names_fit(concepts: usize) -> bool {
    concepts <= 10
}

/// Running mean over a twentieth of the values, at least five, fewer at the ends.
fn smooth(values: &[f64]) -> Vec<f64> {
    let reach = (values.len() / 40).max(2);
    let mean = |middle: usize| {
        let window = &values[middle.saturating_sub(reach)..(middle + reach + 1).min(values.len())];
        window.iter().sum::<f64>() / window.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::summary;

    #[test]
    fn every_concept_has_its_bars_in_the_colours_of_the_methods() {
        let svg = score_bars(&summary()).to_string();
        assert_eq!(svg.matches("class=\"bar m0\"").count(), 3);
        assert_eq!(svg.matches("class=\"ghost m2\"").count(), 3);
        assert!(svg.contains("a, The Y, at the end: 0.700"), "{svg}");
        assert!(svg.contains("aria-label=\"likeness of each concept\""), "{svg}");
        assert_eq!(score_range(&summary()), [0.0, 0.95]);
    }

    #[test]
    fn every_colour_is_in_the_style_sheet() {
        let style = include_str!("style.css");
        for place in 0..PALETTE {
            let class = palette_class(place);
            assert!(
                style.contains(&format!(".{class} {{ --method: var(--{class}); }}")),
                "{class}"
            );
            // In light and in dark mode.
            assert_eq!(style.matches(&format!("--{class}: #")).count(), 2, "{class}");
        }
        assert_eq!(palette_class(PALETTE), palette_class(0));
    }

    #[test]
    fn smoothing_keeps_constants_and_length() {
        assert_eq!(smooth(&[3.0; 7]), [3.0; 7]);
        assert_eq!(smooth(&[0.0, 3.0, 6.0, 9.0])[0], 3.0);
        assert_eq!(loss_range([&vec![1.0; 4], &vec![2.0; 4]]), [1.0, 2.0]);
        assert_eq!(loss_range([]), [0.0, 1.0]);
    }

    #[test]
    fn shades_are_coherences() {
        let coherence = &summary().methods[1].overlaps;
        let svg = coherence_map(1, "The Y", &["a", "b", "c"], coherence).to_string();
        assert_eq!(svg.matches("fill-opacity:0.500").count(), 2);
        assert_eq!(svg.matches("class=\"bar m1\"").count(), 6);
        assert_eq!(svg.matches("class=\"self\"").count(), 3);
    }
}
