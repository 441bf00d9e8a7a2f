//! Curves over steps on a logarithmic axis, as SVG.

use std::fmt::Write;

/// One line of a panel.
#[derive(Debug)]
pub struct Curve<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Its values from step 0 on.
    pub values: Vec<f64>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 2] = ["#1b6ca8", "#d1495b"];

/// Panels one below the other, each with a title and two curves.
pub fn chart(panels: &[(&str, [Curve; 2])]) -> String {
    let height = (HEIGHT + 2.0 * MARGIN) * panels.len() as f64;
    let width = WIDTH + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, (title, curves)) in panels.iter().enumerate() {
        let top = MARGIN + number as f64 * (HEIGHT + 2.0 * MARGIN);
        svg += &panel(top, title, curves);
    }
    svg + "</svg>\n"
}

fn panel(top: f64, title: &str, curves: &[Curve; 2]) -> String {
    let positive = || curves.iter().flat_map(|c| &c.values).copied().filter(|x| *x > 0.0);
    let low = positive().fold(f64::INFINITY, f64::min).log10().floor();
    let high = positive().fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    let steps = curves.iter().map(|c| c.values.len()).max().unwrap_or(2).max(2) - 1;
    let x = |step: usize| MARGIN + WIDTH * step as f64 / steps as f64;
    let y = |value: f64| top + HEIGHT * (high - value.log10().clamp(low, high)) / (high - low);
    let mut svg = String::new();
    let mut add = |part: std::fmt::Arguments| writeln!(svg, "{part}").expect("a text has room");
    add(format_args!("<text x=\"{MARGIN}\" y=\"{}\">{title}</text>", top - 12.0));
    for power in low as i32..=high as i32 {
        let at = y(10f64.powi(power));
        let right = MARGIN + WIDTH;
        add(format_args!(
            "<line x1=\"{MARGIN}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>"
        ));
        let (left, at) = (MARGIN - 8.0, at + 4.0);
        add(format_args!("<text x=\"{left}\" y=\"{at:.1}\" text-anchor=\"end\">1e{power}</text>"));
    }
    for (number, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let points = curve.values.iter().enumerate().filter(|(_, value)| **value > 0.0);
        let points: Vec<String> =
            points.map(|(step, value)| format!("{:.1},{:.1}", x(step), y(*value))).collect();
        let points = points.join(" ");
        add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        ));
        let (left, name) = (MARGIN + WIDTH - 90.0, curve.name);
        let at = top + 16.0 * (number as f64 + 1.0);
        add(format_args!("<text x=\"{left}\" y=\"{at:.1}\" fill=\"{colour}\">{name}</text>"));
    }
    let bottom = top + HEIGHT + 18.0;
    add(format_args!("<text x=\"{MARGIN}\" y=\"{bottom:.1}\">step 0</text>"));
    let right = MARGIN + WIDTH;
    add(format_args!("<text x=\"{right}\" y=\"{bottom:.1}\" text-anchor=\"end\">{steps}</text>"));
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_positive_value_is_a_point_of_its_curve() {
        let curve = |name, values| Curve { name, values };
        let two = [curve("a", vec![1.0, 0.1, 0.0]), curve("b", vec![1000.0, 10.0])];
        let svg = chart(&[("both", two)]);
        let lines: Vec<&str> = svg.lines().filter(|line| line.starts_with("<polyline")).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.matches(',').count() == 2), "{lines:?}");
        // From 0.1 to 1000 there are four decades.
        assert!(svg.contains("1e-1") && svg.contains("1e3") && svg.ends_with("</svg>\n"));
    }
}
