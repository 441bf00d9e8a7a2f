//! The parts of every chart: the drawing, round numbers, axes. Colours come from the page's style sheet
//! by class, so that charts follow light and dark.

use std::fmt;

use super::html::Html;

/// A length in a drawing, with as many digits as can be seen.
#[derive(Debug, Clone, Copy)]
pub struct Px(pub f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

/// The part of a drawing in which data are drawn, with the values at its edges.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// Left and right edge.
    pub x: [f64; 2],
    /// Lower and upper edge.
    pub y: [f64; 2],
    /// Values at the left and right edge.
    pub from_x: [f64; 2],
    /// Values at the lower and upper edge.
    pub from_y: [f64; 2],
}

impl Plot {
    /// Where a value of x lies.
    pub fn at_x(&self, value: f64) -> f64 {
        between(self.x, self.from_x, value)
    }

    /// Where a value of y lies.
    pub fn at_y(&self, value: f64) -> f64 {
        between(self.y, self.from_y, value)
    }

    /// Horizontal lines at round values, labelled on the left.
    pub fn grid(&self) -> Html {
        let tick = |value: f64| {
            let at = self.at_y(value);
            let label = format!("{}", (value * 1e6).round() / 1e6);
            [
                line("grid", [self.x[0], at], [self.x[1], at]),
                label_left([self.x[0] - 6.0, at + 4.0], &label),
            ]
        };
        round_values(self.from_y, 6).into_iter().flat_map(tick).collect()
    }
}

fn between(edges: [f64; 2], values: [f64; 2], value: f64) -> f64 {
    let span = values[1] - values[0];
    let share = if span == 0.0 { 0.5 } else { (value - values[0]) / span };
    edges[0] + share * (edges[1] - edges[0])
}

/// Multiples of 1, 2 or 5 times a power of ten within a range, at most `count` + 1.
pub fn round_values([low, high]: [f64; 2], count: usize) -> Vec<f64> {
    let raw = (high - low) / count.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

/// A drawing of this size, which shrinks with the page; screen readers say `label`.
pub fn drawing(size: [f64; 2], label: &str, content: impl IntoIterator<Item = Html>) -> Html {
    let view = format!("0 0 {} {}", Px(size[0]), Px(size[1]));
    Html::element("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &label)], content)
}

/// A straight line.
pub fn line(class: &str, from: [f64; 2], to: [f64; 2]) -> Html {
    let [[x1, y1], [x2, y2]] = [from, to].map(|point| point.map(Px));
    Html::element(
        "line",
        &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)],
        [],
    )
}

/// A box by its upper left corner and size, with a note that shows under the pointer.
pub fn rectangle(class: &str, corner: [f64; 2], size: [f64; 2], note: &str) -> Html {
    let ([x, y], [width, height]) = (corner.map(Px), size.map(Px));
    let attributes: [(_, &dyn fmt::Display); 5] =
        [("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
    Html::element("rect", &attributes, [tooltip(note)])
}

/// Words centred at a point.
pub fn label(at: [f64; 2], text: &str) -> Html {
    words("middle", at, text)
}

/// Words that end at a point.
pub fn label_left(at: [f64; 2], text: &str) -> Html {
    words("end", at, text)
}

/// Words that begin at a point.
pub fn label_right(at: [f64; 2], text: &str) -> Html {
    words("start", at, text)
}

/// What shows under the pointer.
pub fn tooltip(note: &str) -> Html {
    Html::element("title", &[], [Html::text(note)])
}

fn words(anchor: &str, at: [f64; 2], text: &str) -> Html {
    let [x, y] = at.map(Px);
    Html::element("text", &[("text-anchor", &anchor), ("x", &x), ("y", &y)], [Html::text(text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_values() {
        assert_eq!(round_values([0.0, 1.0], 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(round_values([0.31, 0.52], 4), [0.4, 0.5]);
        assert_eq!(round_values([-3.0, 9.0], 3), [0.0, 5.0]);
        assert_eq!(round_values([2.0, 2.0], 5), [2.0]);
    }

    #[test]
    fn values_lie_between_the_edges() {
        let plot =
            Plot { x: [10.0, 110.0], y: [90.0, 10.0], from_x: [0.0, 4.0], from_y: [0.0, 1.0] };
        assert_eq!((plot.at_x(1.0), plot.at_y(1.0), plot.at_y(0.0)), (35.0, 10.0, 90.0));
    }
}
