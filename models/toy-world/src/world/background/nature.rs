//! Backgrounds of landscapes: grass, snow, beach, forest.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::PathBuilder;

use crate::world::canvas::Canvas;
use crate::world::colour::Rgb;

/// A lawn seen from above, with blades in a lighter and a darker green.
pub(super) fn grass(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    canvas.band((0.0, 1.0), (Rgb(150, 204, 92), Rgb(118, 182, 72)));
    for colour in [Rgb(104, 166, 60), Rgb(176, 222, 112)] {
        let mut blades = PathBuilder::new();
        for _ in 0..70 {
            let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(0.0..1.05));
            blades.move_to(x, y);
            blades.quad_to(x, y - 0.03, x + rng.random_range(-0.03..0.03), y - 0.06);
        }
        canvas.stroke_drawn(blades, colour, 0.012);
    }
}

/// Hills of snow under a pale sky, with snowflakes.
pub(super) fn snow(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    canvas.band((0.0, 1.0), (Rgb(176, 200, 226), Rgb(206, 222, 240)));
    let mut horizon = rng.random_range(0.28..0.42);
    for shade in [Rgb(222, 234, 246), Rgb(234, 242, 250), Rgb(246, 250, 254)] {
        hill(canvas, horizon, rng.random_range(-0.1..0.1), shade);
        horizon += rng.random_range(0.16..0.24);
    }
    dots(canvas, rng, 46, (0.006, 0.015), (0.0, 1.0), Rgb::WHITE);
}

/// Sky, sea and sand.
pub(super) fn beach(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let horizon = rng.random_range(0.16..0.28);
    let shore = horizon + rng.random_range(0.14..0.22);
    canvas.band((0.0, horizon), (Rgb(150, 212, 246), Rgb(204, 236, 250)));
    canvas.band((horizon, 1.0), (Rgb(30, 132, 184), Rgb(90, 200, 214)));
    let slope = rng.random_range(-0.05..0.05);
    hill(canvas, shore - 0.02, slope, Rgb(236, 248, 248));
    hill(canvas, shore, slope, Rgb(242, 218, 162));
    dots(canvas, rng, 40, (0.004, 0.008), (shore + 0.04, 1.0), Rgb(214, 184, 122));
    dots(canvas, rng, 20, (0.004, 0.008), (shore + 0.04, 1.0), Rgb(252, 238, 200));
}

/// Two rows of firs above the ground.
pub(super) fn forest(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    canvas.band((0.0, 1.0), (Rgb(206, 226, 208), Rgb(150, 186, 150)));
    for (foot, height, colour) in [(0.62, 0.56, Rgb(122, 164, 128)), (0.74, 0.62, Rgb(78, 126, 92))]
    {
        let mut firs = PathBuilder::new();
        let mut x: f32 = rng.random_range(-0.12..0.0);
        while x < 1.1 {
            let top = foot - height * rng.random_range(0.75..1.1);
            let middle = f32::midpoint(foot, top);
            fir_storey(&mut firs, x, (top, middle), 0.09);
            fir_storey(&mut firs, x, (f32::midpoint(top, middle), foot), 0.13);
            x += rng.random_range(0.15..0.21);
        }
        canvas.fill_drawn(firs, colour);
    }
    canvas.band((0.74, 1.0), (Rgb(128, 116, 76), Rgb(108, 92, 58)));
    dots(canvas, rng, 30, (0.006, 0.014), (0.76, 1.0), Rgb(146, 138, 84));
}

fn fir_storey(pen: &mut PathBuilder, x: f32, (top, bottom): (f32, f32), half: f32) {
    pen.move_to(x, top);
    pen.line_to(x + half, bottom);
    pen.line_to(x - half, bottom);
    pen.close();
}

/// Fills everything below a slightly curved line.
fn hill(canvas: &mut Canvas, top: f32, slope: f32, colour: Rgb) {
    let mut pen = PathBuilder::new();
    pen.move_to(0.0, top + slope);
    pen.cubic_to(0.3, top - 2.0 * slope, 0.7, top + 2.0 * slope, 1.0, top - slope);
    pen.line_to(1.0, 1.0);
    pen.line_to(0.0, 1.0);
    pen.close();
    canvas.fill_drawn(pen, colour);
}

/// Fills `count` discs at random positions between two heights.
fn dots(
    canvas: &mut Canvas,
    rng: &mut ChaCha8Rng,
    count: usize,
    radius: (f32, f32),
    height: (f32, f32),
    colour: Rgb,
) {
    let mut pen = PathBuilder::new();
    for _ in 0..count {
        let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(height.0..height.1));
        pen.push_circle(x, y, rng.random_range(radius.0..radius.1));
    }
    canvas.fill_drawn(pen, colour);
}
