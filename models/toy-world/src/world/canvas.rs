//! A canvas in unit coordinates, and the image that is painted on it.
//!
//! x points right and y down, both from 0 to 1. The canvas has the image's resolution: rendering at
//! twice the size and averaging takes twice as long, and shows no visible difference at 64 pixels.

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Mask, Paint, Path, Pixmap, Point, Rect, Shader,
    SpreadMode, Transform,
};

use crate::world::colour::Rgb;

/// The largest side of an image, in pixels.
const LARGEST: usize = 2048;

/// A square image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width and height, in pixels.
    pub size: usize,
    /// `size × size` pixels, row by row from the top, three bytes of sRGB each.
    pub rgb: Vec<u8>,
}

/// The surface that objects and backgrounds are painted on.
pub(crate) struct Canvas {
    pixels: Pixmap,
    side: f32,
}

impl Canvas {
    /// An empty canvas, `size` pixels wide and high. Sizes are clamped to 1 to 2048.
    pub fn new(size: usize) -> Option<Self> {
        let side = size.clamp(1, LARGEST) as u32;
        Some(Self { pixels: Pixmap::new(side, side)?, side: side as f32 })
    }

    /// Fills the band between two heights with a vertical gradient.
    pub fn band(&mut self, (top, bottom): (f32, f32), colours: (Rgb, Rgb)) {
        let paint = paint(gradient((top, bottom), colours));
        let Some(rect) = Rect::from_ltrb(0.0, top, 1.0, bottom) else { return };
        self.pixels.fill_rect(rect, &paint, self.unit(), None);
    }

    /// Fills a path with one colour.
    pub fn fill(&mut self, path: &Path, colour: Rgb) {
        let paint = paint(solid(colour));
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.unit(), None);
    }

    /// Fills the intersection of a path and a stencil.
    pub fn fill_within(&mut self, stencil: &Mask, path: &Path, colour: Rgb) {
        let paint = paint(solid(colour));
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.unit(), Some(stencil));
    }

    /// The union of the paths, as a mask.
    pub fn stencil<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Option<Mask> {
        let mut mask = Mask::new(self.pixels.width(), self.pixels.height())?;
        for path in paths {
            mask.fill_path(path, FillRule::Winding, true, self.unit());
        }
        Some(mask)
    }

    /// The image. Unpainted pixels are black.
    pub fn image(&self) -> Image {
        let pixels = self.pixels.pixels().iter();
        let rgb = pixels.flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        Image { size: self.side as usize, rgb }
    }

    /// The transform from unit coordinates to pixels.
    fn unit(&self) -> Transform {
        Transform::from_scale(self.side, self.side)
    }
}

fn paint(shader: Shader<'_>) -> Paint<'_> {
    Paint { shader, anti_alias: true, ..Paint::default() }
}

fn solid(colour: Rgb) -> Shader<'static> {
    Shader::SolidColor(opaque(colour))
}

/// A vertical gradient between two heights, or its first colour where they are equal.
fn gradient((top, bottom): (f32, f32), (from, to): (Rgb, Rgb)) -> Shader<'static> {
    let stops = vec![GradientStop::new(0.0, opaque(from)), GradientStop::new(1.0, opaque(to))];
    let (start, end) = (Point::from_xy(0.0, top), Point::from_xy(0.0, bottom));
    LinearGradient::new(start, end, stops, SpreadMode::Pad, Transform::identity())
        .unwrap_or_else(|| solid(from))
}

fn opaque(Rgb(r, g, b): Rgb) -> Color {
    Color::from_rgba8(r, g, b, 255)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::path::path;

    const WHITE: Rgb = Rgb(255, 255, 255);

    fn pixel(image: &Image, x: usize, y: usize) -> &[u8] {
        &image.rgb[(y * image.size + x) * 3..][..3]
    }

    #[test]
    fn unit_coordinates_reach_from_corner_to_corner() {
        let mut canvas = Canvas::new(8).unwrap();
        canvas.band((0.0, 1.0), (WHITE, WHITE));
        canvas.fill(&path("R 0 0 0.5 0.5 0").unwrap(), Rgb(200, 10, 20));
        let image = canvas.image();
        assert_eq!(image.rgb.len(), 8 * 8 * 3);
        assert_eq!(pixel(&image, 3, 3), [200, 10, 20]);
        assert_eq!(pixel(&image, 4, 3), [255, 255, 255]);
        assert_eq!(pixel(&image, 7, 7), [255, 255, 255]);
    }

    #[test]
    fn a_stencil_limits_what_is_filled() {
        let mut canvas = Canvas::new(8).unwrap();
        canvas.band((0.0, 1.0), (WHITE, WHITE));
        let (left, all) = (path("R 0 0 0.5 1 0").unwrap(), path("R 0 0 1 1 0").unwrap());
        let stencil = canvas.stencil([&left]).unwrap();
        canvas.fill_within(&stencil, &all, Rgb(0, 0, 0));
        assert_eq!(pixel(&canvas.image(), 1, 4), [0, 0, 0]);
        assert_eq!(pixel(&canvas.image(), 6, 4), [255, 255, 255]);
    }

    #[test]
    fn any_size_gives_a_image() {
        assert_eq!(Canvas::new(0).unwrap().image().size, 1);
        assert_eq!(Canvas::new(usize::MAX).unwrap().side as usize, LARGEST);
    }
}
