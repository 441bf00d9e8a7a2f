//! A plot as an SVG file: its size, its style, its ranges.

use crate::report::html::Html;
use crate::report::svg::drawing;

/// A plot with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// The name of its file.
    pub file: String,
    /// What it shows, in a sentence.
    pub title: String,
    /// The drawing, for a page with the report's style.
    pub(super) svg: Html,
}

/// Width of a plot.
pub(super) const WIDTH: f64 = 720.0;

/// The style of a drawing outside of the page.
const STYLE: &str = include_str!("plots.css");

impl Plot {
    /// The drawing as a file of its own.
    pub fn to_svg(&self) -> String {
        let svg = self.svg.to_string();
        let svg = svg.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
        match svg.find('>') {
            Some(end) => format!("{}<style>{STYLE}</style>{}\n", &svg[..=end], &svg[end + 1..]),
            None => svg,
        }
    }
}

/// A plot of this height and the usual width.
pub(super) fn plot_of(file: String, title: String, height: f64, content: Vec<Html>) -> Plot {
    let svg = drawing([WIDTH, height], &title, content);
    Plot { file: format!("{file}.svg"), title, svg }
}

/// A range with some air, zero included.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> [f64; 2] {
    let widen = |[low, high]: [f64; 2], value: f64| [low.min(value), high.max(value)];
    let [low, high] = values.into_iter().filter(|v| v.is_finite()).fold([0.0, 0.0], widen);
    let air = 0.05 * (high - low);
    [if low < 0.0 { low - air } else { 0.0 }, if high > low { high + air } else { 1.0 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_zero_and_are_never_empty() {
        assert_eq!(range([]), [0.0, 1.0]);
        let [low, high] = range([-1.0, 1.0, f64::NAN]);
        assert!(low < -1.0 && high > 1.0);
    }
}
