//! A small language for paths, so that shapes can be written as tables.
//!
//! A path is a sequence of commands, each a letter and its numbers: SVG's absolute `M x y`,
//! `L x y ...`, `Q x y x y`, `C x y x y x y` and `Z`, and three more.
//!
//! - `O x y rx ry` is an ellipse. A negative `rx` reverses its direction, which makes it a hole in
//!   the shape around it.
//! - `R left top right bottom r` is a rectangle with corners of radius `r`.
//! - `X` appends the horizontal mirror image of the path so far. Its direction is reversed, so the
//!   two must not overlap.

use tiny_skia::{Path, PathBuilder, Transform};

/// Distance of the control points of a quarter circle, in radii: 4/3 · (√2 − 1).
const QUARTER: f32 = 0.552_285;

/// The path that `data` describes, or `None` where `data` is no valid path.
pub(crate) fn path(data: &str) -> Option<Path> {
    let mut pen = PathBuilder::new();
    let mut rest = data.trim_start();
    while let Some(command) = rest.chars().next() {
        let numbers = &rest[command.len_utf8()..];
        let end = numbers.find(char::is_alphabetic).unwrap_or(numbers.len());
        let values: Result<Vec<f32>, _> =
            numbers[..end].split_whitespace().map(str::parse).collect();
        pen = draw(pen, command, &values.ok()?)?;
        rest = &numbers[end..];
    }
    pen.finish()
}

fn draw(mut pen: PathBuilder, command: char, values: &[f32]) -> Option<PathBuilder> {
    match (command, values) {
        ('M', &[x, y]) => pen.move_to(x, y),
        ('L', points) => points.chunks_exact(2).for_each(|p| pen.line_to(p[0], p[1])),
        ('Q', points) => points.chunks_exact(4).for_each(|p| pen.quad_to(p[0], p[1], p[2], p[3])),
        ('C', points) => {
            points.chunks_exact(6).for_each(|p| pen.cubic_to(p[0], p[1], p[2], p[3], p[4], p[5]));
        }
        ('Z', []) => pen.close(),
        ('O', &[x, y, rx, ry]) => ellipse(&mut pen, (x, y), (rx, ry)),
        ('R', &[left, top, right, bottom, r]) => rectangle(&mut pen, [left, top, right, bottom], r),
        ('X', []) => {
            let path = pen.finish()?;
            pen = PathBuilder::new();
            pen.push_path(&path);
            pen.push_path(&path.transform(Transform::from_scale(-1.0, 1.0))?);
        }
        _ => return None,
    }
    Some(pen)
}

fn ellipse(pen: &mut PathBuilder, (x, y): (f32, f32), (rx, ry): (f32, f32)) {
    let (kx, ky) = (rx * QUARTER, ry * QUARTER);
    pen.move_to(x + rx, y);
    pen.cubic_to(x + rx, y + ky, x + kx, y + ry, x, y + ry);
    pen.cubic_to(x - kx, y + ry, x - rx, y + ky, x - rx, y);
    pen.cubic_to(x - rx, y - ky, x - kx, y - ry, x, y - ry);
    pen.cubic_to(x + kx, y - ry, x + rx, y - ky, x + rx, y);
    pen.close();
}

fn rectangle(pen: &mut PathBuilder, [left, top, right, bottom]: [f32; 4], r: f32) {
    pen.move_to(left + r, top);
    pen.line_to(right - r, top);
    pen.quad_to(right, top, right, top + r);
    pen.line_to(right, bottom - r);
    pen.quad_to(right, bottom, right - r, bottom);
    pen.line_to(left + r, bottom);
    pen.quad_to(left, bottom, left, bottom - r);
    pen.line_to(left, top + r);
    pen.quad_to(left, top, left + r, top);
    pen.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_their_bounds() {
        let bounds = |data| {
            let b = path(data).unwrap().compute_tight_bounds().unwrap();
            [b.left(), b.top(), b.right(), b.bottom()].map(f32::round)
        };
        assert_eq!(bounds("M 0 0 L 10 0 10 5Z"), [0.0, 0.0, 10.0, 5.0]);
        assert_eq!(bounds("O 1 2 3 4"), [-2.0, -2.0, 4.0, 6.0]);
        assert_eq!(bounds("R -5 -6 7 8 2"), [-5.0, -6.0, 7.0, 8.0]);
        assert_eq!(bounds("M 10 0 L 30 0 20 5 Z X"), [-30.0, 0.0, 30.0, 5.0]);
    }

    #[test]
    fn invalid_data_gives_none() {
        for data in ["", "M 1", "W 1 2", "L x y", "O 1 2 3", "1 2", "ü"] {
            assert!(path(data).is_none(), "{data}");
        }
    }
}
