//! Backgrounds of studios and buildings: white, floor, brick wall.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::{PathBuilder, Rect};

use crate::world::canvas::Canvas;
use crate::world::colour::Rgb;

/// White, slightly darker at the bottom.
pub(super) fn white(canvas: &mut Canvas) {
    canvas.band((0.0, 1.0), (Rgb(255, 255, 255), Rgb(238, 238, 240)));
}

/// Horizontal planks, each in a random shade.
pub(super) fn floor(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    const PLANKS: usize = 7;
    let height = 1.0 / PLANKS as f32;
    let wood = Rgb(206, 158, 104);
    for plank in 0..PLANKS {
        let (top, bottom) = (plank as f32 * height, (plank + 1) as f32 * height);
        let shade = wood.jittered(rng);
        canvas.band((top, bottom), (shade.towards(Rgb::WHITE, 0.08), shade));
        let mut grain = PathBuilder::new();
        for _ in 0..3 {
            let (x, y) = (rng.random_range(-0.2..1.0), rng.random_range(top + 0.02..bottom - 0.02));
            grain.move_to(x, y);
            grain.quad_to(x + 0.2, y + rng.random_range(-0.02..0.02), x + 0.4, y);
        }
        canvas.stroke_drawn(grain, shade.towards(Rgb::INK, 0.12), 0.006);
        let mut gaps = PathBuilder::new();
        gaps.move_to(0.0, top);
        gaps.line_to(1.0, top);
        let joint = rng.random_range(0.0..1.0);
        gaps.move_to(joint, top);
        gaps.line_to(joint, bottom);
        canvas.stroke_drawn(gaps, Rgb(128, 86, 48), 0.01);
    }
}

/// Bricks in courses, each course shifted by half a brick.
pub(super) fn wall(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    const COURSES: usize = 9;
    const MORTAR: f32 = 0.016;
    let height = 1.0 / COURSES as f32;
    let length = 2.0 * height;
    let shift = rng.random_range(0.0..length);
    canvas.band((0.0, 1.0), (Rgb(222, 208, 196), Rgb(208, 194, 184)));
    for course in 0..COURSES {
        let offset = if course % 2 == 0 { 0.0 } else { length / 2.0 };
        for brick in 0..=COURSES / 2 + 2 {
            let x = brick as f32 * length + offset - shift - length / 2.0;
            let y = course as f32 * height;
            let Some(rect) = Rect::from_xywh(x, y, length - MORTAR, height - MORTAR) else {
                continue;
            };
            canvas.fill(&PathBuilder::from_rect(rect), Rgb(186, 104, 84).jittered(rng));
        }
    }
}
