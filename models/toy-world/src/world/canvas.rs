//! A canvas in unit coordinates, and the finished picture.
//!
//! x runs to the right and y down, both from 0 to 1. Drawing larger and shrinking afterwards was
//! tried: at 64 pixels nobody sees the difference, and it takes twice as long.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Mask, Paint, Path,
    PathBuilder, Pixmap, Point, Rect, Shader, SpreadMode, Stroke, Transform,
};

use crate::world::colour::Rgb;

/// Largest side of a picture, in pixels.
const LARGEST: usize = 2048;

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Both sides, in pixels.
    pub size: usize,
    /// Rows from the top, pixels from the left, three bytes of sRGB each.
    pub rgb: Vec<u8>,
}

/// What is drawn on.
pub(crate) struct Canvas {
    pixels: Pixmap,
    side: f32,
}

impl Canvas {
    /// An empty canvas for a picture of `size` pixels a side, which is held to 1 to 2048.
    pub fn new(size: usize) -> Option<Self> {
        let side = size.clamp(1, LARGEST) as u32;
        Some(Self { pixels: Pixmap::new(side, side)?, side: side as f32 })
    }

    /// Covers the band between two heights with a gradient from its top to its bottom.
    pub fn band(&mut self, (top, bottom): (f32, f32), colours: (Rgb, Rgb)) {
        let paint = paint(gradient((top, bottom), colours));
        let Some(rect) = Rect::from_ltrb(0.0, top, 1.0, bottom) else { return };
        self.pixels.fill_rect(rect, &paint, self.unit(), None);
    }

    /// Fills a path with one colour.
    pub fn fill(&mut self, path: &Path, colour: Rgb) {
        let paint = paint(solid(colour, 1.0));
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.unit(), None);
    }

    /// Fills a path with a gradient from its top to its bottom.
    pub fn shade(&mut self, path: &Path, colours: (Rgb, Rgb)) {
        let bounds = path.bounds();
        let paint = paint(gradient((bounds.top(), bounds.bottom()), colours));
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.unit(), None);
    }

    /// Draws a path's line, `width` of the picture's side wide.
    pub fn stroke(&mut self, path: &Path, colour: Rgb, width: f32) {
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixels.stroke_path(path, &paint(solid(colour, 1.0)), &stroke, self.unit(), None);
    }

    /// Fills what a pen has drawn, if anything.
    pub fn fill_drawn(&mut self, pen: PathBuilder, colour: Rgb) {
        if let Some(path) = pen.finish() {
            self.fill(&path, colour);
        }
    }

    /// Draws the line of what a pen has drawn, if anything.
    pub fn stroke_drawn(&mut self, pen: PathBuilder, colour: Rgb, width: f32) {
        if let Some(path) = pen.finish() {
            self.stroke(&path, colour, width);
        }
    }

    /// Fills what a path and a stencil have in common.
    pub fn fill_within(&mut self, stencil: &Mask, path: &Path, colour: Rgb) {
        let paint = paint(solid(colour, 1.0));
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.unit(), Some(stencil));
    }

    /// Lays a colour over all that is within a stencil; `opacity`, 0 to 1, covers what is below.
    pub fn tint(&mut self, stencil: &Mask, colour: Rgb, opacity: f32) {
        let Some(all) = Rect::from_ltrb(0.0, 0.0, 1.0, 1.0) else { return };
        self.pixels.fill_rect(all, &paint(solid(colour, opacity)), self.unit(), Some(stencil));
    }

    /// The area that any of the paths covers.
    pub fn stencil<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Option<Mask> {
        let mut mask = Mask::new(self.pixels.width(), self.pixels.height())?;
        for path in paths {
            mask.fill_path(path, FillRule::Winding, true, self.unit());
        }
        Some(mask)
    }

    /// The picture; what was left empty is black.
    pub fn picture(&self) -> Picture {
        let pixels = self.pixels.pixels().iter();
        let rgb = pixels.flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        Picture { size: self.side as usize, rgb }
    }

    /// From unit coordinates to pixels.
    fn unit(&self) -> Transform {
        Transform::from_scale(self.side, self.side)
    }
}

fn paint(shader: Shader<'_>) -> Paint<'_> {
    Paint { shader, anti_alias: true, ..Paint::default() }
}

fn solid(colour: Rgb, opacity: f32) -> Shader<'static> {
    Shader::SolidColor(tinted(colour, opacity))
}

/// A gradient down from one height to another, or its first colour where they are the same.
fn gradient((top, bottom): (f32, f32), (from, to): (Rgb, Rgb)) -> Shader<'static> {
    let stops =
        vec![GradientStop::new(0.0, tinted(from, 1.0)), GradientStop::new(1.0, tinted(to, 1.0))];
    let (start, end) = (Point::from_xy(0.0, top), Point::from_xy(0.0, bottom));
    LinearGradient::new(start, end, stops, SpreadMode::Pad, Transform::identity())
        .unwrap_or_else(|| solid(from, 1.0))
}

fn tinted(Rgb(r, g, b): Rgb, opacity: f32) -> Color {
    Color::from_rgba8(r, g, b, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::path::path;

    fn pixel(picture: &Picture, x: usize, y: usize) -> &[u8] {
        &picture.rgb[(y * picture.size + x) * 3..][..3]
    }

    #[test]
    fn unit_coordinates_reach_from_corner_to_corner() {
        let mut canvas = Canvas::new(8).unwrap();
        canvas.band((0.0, 1.0), (Rgb::WHITE, Rgb::WHITE));
        canvas.fill(&path("R 0 0 0.5 0.5 0").unwrap(), Rgb(200, 10, 20));
        let picture = canvas.picture();
        assert_eq!(picture.rgb.len(), 8 * 8 * 3);
        assert_eq!(pixel(&picture, 3, 3), [200, 10, 20]);
        assert_eq!(pixel(&picture, 4, 3), [255, 255, 255]);
        assert_eq!(pixel(&picture, 7, 7), [255, 255, 255]);
    }

    #[test]
    fn a_stencil_holds_paint_back() {
        let mut canvas = Canvas::new(8).unwrap();
        canvas.band((0.0, 1.0), (Rgb::WHITE, Rgb::WHITE));
        let (left, all) = (path("R 0 0 0.5 1 0").unwrap(), path("R 0 0 1 1 0").unwrap());
        let stencil = canvas.stencil([&left]).unwrap();
        canvas.fill_within(&stencil, &all, Rgb(0, 0, 0));
        assert_eq!(pixel(&canvas.picture(), 1, 4), [0, 0, 0]);
        assert_eq!(pixel(&canvas.picture(), 6, 4), [255, 255, 255]);
    }

    #[test]
    fn any_size_gives_a_picture() {
        assert_eq!(Canvas::new(0).unwrap().picture().size, 1);
        assert_eq!(Canvas::new(usize::MAX).unwrap().side as usize, LARGEST);
    }
}
