//! A value of several methods over something that grows: the number of concepts, seconds, steps.

use super::plot::{Plot, WIDTH, plot_of, range};
use crate::report::charts::palette_class;
use crate::report::html::Html;
use crate::report::svg::{
    Plot as Axes, Px, label, label_left, label_right, line, rectangle, round_values,
};

/// The points of a method, in the order of x.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Vec<Point>,
}

/// A value, with its interval if it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// What it is over.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// The interval of y.
    pub interval: Option<[f64; 2]>,
}

/// How many values of x have a label of their own before round ones are taken.
const OWN_LABELS: usize = 8;

/// Where the axes begin and end.
const SIDES: [f64; 2] = [52.0, WIDTH - 24.0];

/// Width of a letter in the legend.
const LETTER: f64 = 7.0;

/// One line for each method, with error bars and a legend; both axes begin at zero. `None` without a point.
pub fn line_plot(file: &str, title: String, x_name: &str, series: &[Series]) -> Option<Plot> {
    let points = || series.iter().flat_map(|series| &series.points);
    let most = points().map(|point| point.x).reduce(f64::max)?;
    let columns = legend_columns(series);
    let top = 14.0 + 18.0 * series.len().div_ceil(columns) as f64;
    let ends = |p: &Point| p.interval.into_iter().flatten().chain([p.y]).collect::<Vec<_>>();
    let axes = Axes {
        x: SIDES,
        y: [top + 240.0, top + 12.0],
        from_x: [0.0, 1.02 * most.max(f64::MIN_POSITIVE)],
        from_y: range(points().flat_map(ends)),
    };
    let mut content = vec![axes.grid()];
    let names = series.iter().map(|series| series.name.as_str()).enumerate();
    content.extend(names.map(|(place, name)| legend(place, name, columns)));
    content.extend(series.iter().enumerate().map(|(place, series)| drawn(&axes, place, series)));
    content.extend(ticks(points().map(|point| point.x), most).into_iter().map(|x| {
        let text = format!("{}", (x * 1e6).round() / 1e6);
        label([axes.at_x(x), axes.y[0] + 18.0], &text)
    }));
    content.push(label_left([axes.x[1], axes.y[0] + 36.0], x_name));
    Some(plot_of(file.into(), title, axes.y[0] + 44.0, content))
}

/// The values of x that are labelled.
fn ticks(values: impl Iterator<Item = f64>, most: f64) -> Vec<f64> {
    let mut own: Vec<f64> = values.collect();
    own.sort_by(f64::total_cmp);
    own.dedup();
    // Labels that are too close would overlap.
    let apart = own.windows(2).all(|pair| pair[1] - pair[0] > 0.04 * most);
    if own.len() <= OWN_LABELS && apart { own } else { round_values([0.0, most], 8) }
}

/// As many columns as the longest name leaves room for, at most three.
fn legend_columns(series: &[Series]) -> usize {
    let longest = series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
    let width = 26.0 + LETTER * longest as f64;
    ((SIDES[1] - SIDES[0]) / width).clamp(1.0, 3.0) as usize
}

fn legend(place: usize, name: &str, columns: usize) -> Html {
    let width = (SIDES[1] - SIDES[0]) / columns as f64;
    let (column, row) = ((place % columns) as f64, (place / columns) as f64);
    let corner = [SIDES[0] + width * column, 8.0 + 18.0 * row];
    let mark = rectangle(&format!("bar {}", palette_class(place)), corner, [10.0; 2], name);
    [mark, label_right([corner[0] + 16.0, corner[1] + 10.0], name)].into_iter().collect()
}

/// The line of a method with its points.
fn drawn(axes: &Axes, place: usize, Series { name, points }: &Series) -> Html {
    let colour = palette_class(place);
    let at = |point: &Point| [axes.at_x(point.x), axes.at_y(point.y)];
    let path: Vec<String> =
        points.iter().map(at).map(|[x, y]| format!("{},{}", Px(x), Px(y))).collect();
    let class = format!("curve {colour}");
    let curve = Html::element("polyline", &[("class", &class), ("points", &path.join(" "))], []);
    let mark = |point: &Point| {
        let [x, y] = at(point);
        let note = format!("{name}, {}: {:.3}", point.x, point.y);
        let bar = point
            .interval
            .map(|ends| line("error", [x, axes.at_y(ends[0])], [x, axes.at_y(ends[1])]));
        let square = rectangle(&format!("bar {colour}"), [x - 4.0, y - 4.0], [8.0; 2], &note);
        bar.into_iter().chain([square]).collect::<Html>()
    };
    [curve].into_iter().chain(points.iter().map(mark)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_line_its_points_and_a_name() {
        let point = |x, y| Point { x, y, interval: Some([y - 0.1, y + 0.1]) };
        let series = ["SeqLoRA", "a < b"].map(|name| Series {
            name: name.into(),
            points: vec![point(8.0, 0.7), point(32.0, 0.6), point(101.0, 0.5)],
        });
        let plot = line_plot("identity", "identity".into(), "concepts", &series).unwrap();
        let svg = plot.to_svg();
        assert_eq!(plot.file, "identity.svg");
        assert_eq!(svg.matches("class=\"curve ").count(), 2);
        // Three points of each, and its mark in the legend.
        assert_eq!(svg.matches("class=\"bar ").count(), 2 * 4);
        assert_eq!(svg.matches("class=\"error\"").count(), 2 * 3);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"), "{svg}");
        assert_eq!(line_plot("none", String::new(), "x", &[]), None);
    }

    #[test]
    fn long_names_have_room() {
        let columns = |name: &str| legend_columns(&[Series { name: name.into(), points: vec![] }]);
        let names = ["SeqLoRA", "LoRACLR of Orthogonal Adaptation"];
        assert_eq!(names.map(columns), [3, 2]);
        assert_eq!(columns(&"m".repeat(200)), 1);
    }

    #[test]
    fn labels_are_the_values_unless_they_would_overlap() {
        assert_eq!(ticks([101.0, 8.0, 32.0, 8.0].into_iter(), 101.0), [8.0, 32.0, 101.0]);
        assert_eq!(ticks([9.0, 10.0, 100.0].into_iter(), 100.0)[1], 20.0);
    }
}
