//! Backgrounds that are mostly sky: day, night, city.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::{PathBuilder, Rect};

use crate::world::canvas::Canvas;
use crate::world::colour::Rgb;

/// A blue sky with clouds.
pub(super) fn day(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    canvas.band((0.0, 1.0), (Rgb(84, 168, 240), Rgb(172, 220, 252)));
    let mut pen = PathBuilder::new();
    for number in 0..4 {
        let x = rng.random_range(-0.05..0.85);
        let y = 0.25 * number as f32 + rng.random_range(0.06..0.2);
        let size = rng.random_range(0.04..0.075);
        for (dx, dy, r) in [(0.0, 0.0, 1.0), (1.2, -0.6, 1.3), (2.6, -0.1, 1.1), (1.3, 0.2, 1.0)] {
            pen.push_circle(x + dx * size, y + dy * size, r * size);
        }
    }
    canvas.fill_drawn(pen, Rgb(250, 252, 255));
}

/// Moon and stars in a blue that black objects contrast with.
pub(super) fn night(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let (top, bottom) = (Rgb(34, 36, 104), Rgb(84, 80, 156));
    canvas.band((0.0, 1.0), (top, bottom));
    let mut stars = PathBuilder::new();
    for _ in 0..36 {
        let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(0.0..1.0));
        stars.push_circle(x, y, rng.random_range(0.004..0.011));
    }
    canvas.fill_drawn(stars, Rgb(255, 250, 214));
    let (x, y) = (rng.random_range(0.1..0.9), rng.random_range(0.08..0.16));
    let discs = [(x, Rgb(255, 244, 190)), (x + 0.035, top.towards(bottom, y))];
    for (x, colour) in discs {
        if let Some(path) = PathBuilder::from_circle(x, y - (x - discs[0].0) * 0.4, 0.075) {
            canvas.fill(&path, colour);
        }
    }
}

/// A row of buildings with lit windows.
pub(super) fn city(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    canvas.band((0.0, 1.0), (Rgb(250, 214, 178), Rgb(252, 234, 206)));
    let mut left = rng.random_range(-0.1..0.0);
    while left < 1.0 {
        let width = rng.random_range(0.15..0.26);
        let top = rng.random_range(0.12..0.42);
        building(canvas, (left, top, width), Rgb(128, 142, 168).jittered(rng), rng);
        left += width + 0.015;
    }
    canvas.band((0.86, 1.0), (Rgb(126, 128, 134), Rgb(104, 106, 112)));
}

fn building(
    canvas: &mut Canvas,
    (left, top, width): (f32, f32, f32),
    colour: Rgb,
    rng: &mut ChaCha8Rng,
) {
    const FLOOR: f32 = 0.095;
    let mut walls = PathBuilder::new();
    let mut windows = PathBuilder::new();
    rectangle(&mut walls, left, top, width, 0.88 - top);
    let columns = (width / 0.065) as usize;
    let step = width / columns as f32;
    let floors = ((0.82 - top) / FLOOR) as usize;
    for (floor, column) in (0..floors).flat_map(|f| (0..columns).map(move |c| (f, c))) {
        if rng.random_bool(0.75) {
            let (x, y) = (left + step * (column as f32 + 0.28), top + FLOOR * (floor as f32 + 0.4));
            rectangle(&mut windows, x, y, step * 0.45, FLOOR * 0.5);
        }
    }
    for (pen, colour) in [(walls, colour), (windows, Rgb(252, 226, 140))] {
        canvas.fill_drawn(pen, colour);
    }
}

fn rectangle(pen: &mut PathBuilder, x: f32, y: f32, width: f32, height: f32) {
    if let Some(rect) = Rect::from_xywh(x, y, width, height) {
        pen.push_rect(rect);
    }
}
