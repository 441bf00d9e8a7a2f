//! Plots as SVG files: scores of methods, forgetting of concepts, confusions.

use super::line_plot::{Point, Series, line_plot};
use super::plot::{Plot, WIDTH, plot_of, range};
use super::summary::{Confusion, EvaluationSummary, MeasureRow};
use crate::report::charts::palette_class;
use crate::report::html::Html;
use crate::report::svg::{Plot as Axes, label, label_left, line, rectangle};
use crate::statistics::Distribution;

/// All plots of a summary, metric by metric.
pub fn plots(summary: &EvaluationSummary) -> Vec<Plot> {
    let mut plots = Vec::new();
    for metric in &summary.metrics {
        plots.extend(scores(summary, &metric.name));
        plots.extend(forgetting(summary, &metric.name));
        plots.extend(over_stages(summary, &metric.name));
    }
    plots.extend(summary.confusions.iter().enumerate().map(|(n, c)| confusion(summary, n, c)));
    plots
}

fn safe(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '-' };
    text.chars().take(40).map(safe).collect()
}

/// The bars of each method, just learnt as an outline, with standard errors, between base and references.
fn scores(summary: &EvaluationSummary, metric: &str) -> Option<Plot> {
    let of = |method: Option<&str>, measure: &str| summary.row(metric, method, measure)?.statistics;
    let bound = |measure: &str| Some(of(None, measure)?.mean);
    let (floor, ceiling) = (bound("floor"), bound("ceiling"));
    let names: Vec<&str> = summary.run.methods.iter().map(|method| method.name.as_str()).collect();
    let all = names.iter().flat_map(|name| [of(Some(*name), "end"), of(Some(*name), "learnt")]);
    let all: Vec<f64> =
        all.flatten().map(|s| s.mean + s.mean.signum() * s.sem.unwrap_or(0.0)).collect();
    if all.is_empty() {
        return None;
    }
    let axes = Axes {
        x: [52.0, WIDTH - 8.0],
        y: [240.0, 12.0],
        from_x: [0.0, names.len() as f64],
        from_y: range(all.into_iter().chain(floor).chain(ceiling)),
    };
    let zero = axes.at_y(0.0);
    let mut content = vec![axes.grid()];
    for (place, name) in names.iter().enumerate() {
        let [left, right] = [0.2, 0.8].map(|share| axes.at_x(place as f64 + share));
        let colour = palette_class(place);
        for (class, measure) in [("bar", "end"), ("ghost", "learnt")] {
            let Some(statistics) = of(Some(*name), measure) else { continue };
            let at = axes.at_y(statistics.mean);
            let note = format!("{name}, {measure}: {:.3}", statistics.mean);
            let size = [right - left, (zero - at).abs()];
            content.push(rectangle(
                &format!("{class} {colour}"),
                [left, at.min(zero)],
                size,
                &note,
            ));
            if let (Some(sem), "end") = (statistics.sem, measure) {
                let [low, high] = [-sem, sem].map(|x| axes.at_y(statistics.mean + x));
                let middle = (left + right) / 2.0;
                content.push(line("error", [middle, low], [middle, high]));
            }
        }
        content.push(label([(left + right) / 2.0, 260.0], &short(name, 24)));
    }
    for (class, value) in [("base", floor), ("references", ceiling)] {
        content.extend(
            value.map(|v| line(class, [axes.x[0], axes.at_y(v)], [axes.x[1], axes.at_y(v)])),
        );
    }
    let title = format!(
        "{metric} of each method with all concepts; outlined: just learnt; dotted: base model, dashed: \
         references"
    );
    Some(plot_of(format!("scores-{}", safe(metric)), title, 270.0, content))
}

/// Forgetting of each concept, method beside method.
fn forgetting(summary: &EvaluationSummary, metric: &str) -> Option<Plot> {
    let rows: Vec<_> = summary.concepts.iter().filter(|row| row.metric == metric).collect();
    let values = rows.iter().filter_map(|row| row.forgetting);
    if values.clone().count() == 0 {
        return None;
    }
    let concepts = &summary.run.concepts;
    let axes = Axes {
        x: [52.0, WIDTH - 8.0],
        y: [240.0, 12.0],
        from_x: [0.0, concepts.len() as f64],
        from_y: range(values),
    };
    let zero = axes.at_y(0.0);
    let mut content = vec![axes.grid(), line("base", [axes.x[0], zero], [axes.x[1], zero])];
    for (number, concept) in concepts.iter().enumerate() {
        let [left, right] = [0.1, 0.9].map(|share| axes.at_x(number as f64 + share));
        let width = (right - left) / summary.run.methods.len().max(1) as f64;
        for (place, method) in summary.run.methods.iter().enumerate() {
            let row = rows.iter().find(|r| r.concept == concept.id && r.method == method.name);
            let Some(value) = row.and_then(|row| row.forgetting) else { continue };
            let at = axes.at_y(value);
            let note = format!("{}, {}: {value:.3}", concept.id, method.name);
            let corner = [left + place as f64 * width, at.min(zero)];
            let class = format!("bar {}", palette_class(place));
            content.push(rectangle(
                &class,
                corner,
                [0.9 * width, (zero - at).abs().max(0.5)],
                &note,
            ));
        }
        if concepts.len() <= 10 {
            content.push(label([(left + right) / 2.0, 260.0], &short(&concept.id, 12)));
        }
    }
    let title =
        format!("{metric}: how much worse each concept is with all concepts than just learnt");
    Some(plot_of(format!("forgetting-{}", safe(metric)), title, 270.0, content))
}

/// The score over the number of concepts in the model, where that was asked for.
fn over_stages(summary: &EvaluationSummary, metric: &str) -> Option<Plot> {
    let series = summary.run.methods.iter().map(|method| {
        let point = |row: &MeasureRow| {
            let stage = row.measure.strip_prefix("at_").and_then(|count| count.parse().ok());
            let end = (row.measure == "end").then_some(method.concepts as f64);
            let of_method = row.metric == metric && row.method.as_deref() == Some(&method.name);
            let Distribution { mean: y, interval, .. } = row.statistics.filter(|_| of_method)?;
            Some(Point { x: stage.or(end)?, y, interval })
        };
        let mut points: Vec<Point> = summary.rows.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { name: method.name.clone(), points }
    });
    let series: Vec<Series> = series.collect();
    if series.iter().all(|series| series.points.len() < 2) {
        return None;
    }
    let title = format!("{metric} over the number of concepts in the model, with intervals");
    line_plot(&format!("stages-{}", safe(metric)), title, "concepts", &series)
}

/// Which concept of a class images are closest to.
fn confusion(summary: &EvaluationSummary, number: usize, confusion: &Confusion) -> Plot {
    let count = confusion.concepts.len();
    let left = 130.0;
    let side = ((WIDTH - left - 8.0) / count as f64).min(64.0);
    let place = summary.run.methods.iter().position(|method| method.name == confusion.method);
    let class = format!("bar {}", palette_class(place.unwrap_or(0)));
    let mut content = Vec::new();
    for (row, shares) in confusion.shares.iter().enumerate() {
        let top = 8.0 + row as f64 * side;
        content.push(label_left(
            [left - 8.0, top + side / 2.0 + 4.0],
            &short(&confusion.concepts[row], 16),
        ));
        for (column, share) in shares.iter().enumerate() {
            let corner = [left + column as f64 * side, top];
            let note = format!(
                "images of {}: {:.0} % are closest to {}",
                confusion.concepts[row],
                100.0 * share,
                confusion.concepts[column]
            );
            let opacity = format!("fill-opacity:{share:.3}");
            let cell = rectangle(&class, corner, [side - 2.0; 2], &note);
            content.push(Html::element("g", &[("style", &opacity)], [cell]));
            content.push(rectangle("frame", corner, [side - 2.0; 2], &note));
            if count <= 10 {
                let middle = [corner[0] + side / 2.0 - 1.0, corner[1] + side / 2.0 + 4.0];
                content.push(label(middle, &format!("{:.0}", 100.0 * share)));
            }
        }
    }
    let Confusion { metric, method, class_word, .. } = confusion;
    let title = format!(
        "{method}, {class_word}: percent of the images of a row's concept that are closest to a column's, by {metric}"
    );
    let file = format!("confusion-{number:03}-{}-{}", safe(metric), safe(method));
    plot_of(file, title, 16.0 + count as f64 * side, content)
}

fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_string(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summarise::tests::summary;
    use super::*;

    #[test]
    fn every_plot_is_a_file_of_its_own() {
        let plots = plots(&summary());
        let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(
            files,
            [
                "scores-likeness.svg",
                "forgetting-likeness.svg",
                "confusion-000-likeness-a.svg",
                "confusion-001-likeness-b-.svg"
            ]
        );
        for plot in &plots {
            let svg = plot.to_svg();
            assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="), "{svg}");
            assert_eq!(svg.matches("<style>").count(), 1);
            assert_eq!(svg.matches("<rect").count(), svg.matches("</rect>").count());
            assert!(!svg.contains("b<:") && !svg.contains("b<,") && !svg.contains("NaN"), "{svg}");
        }
        // Two methods, a filled and an outlined bar each, and an error line.
        let scores = plots[0].to_svg();
        assert_eq!(
            scores.matches("class=\"bar ").count() + scores.matches("class=\"ghost ").count(),
            4
        );
        assert_eq!(scores.matches("class=\"error\"").count(), 2);
        // Three concepts by two methods.
        assert_eq!(plots[1].to_svg().matches("class=\"bar ").count(), 6);
        assert!(plots[2].to_svg().contains("75 % are closest to rex"), "{}", plots[2].to_svg());
    }
}
