//! Objects and how they are painted.

use serde::{Deserialize, Serialize};
use tiny_skia::{Mask, Path, Transform};

use crate::world::canvas::Canvas;
use crate::world::class::Class;
use crate::world::colour::Rgb;
use crate::world::drawing::{Drawing, Ink, Part, Spot};
use crate::world::face::emblem;
use crate::world::look::{Look, Traits};
use crate::world::path::path;
use crate::world::pose::{Bounds, Pose, Size};

/// Width of the outline of every part, as a share of the image's side.
const OUTLINE: f32 = 0.012;

/// Whether an object is ordinary or an individual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// An ordinary object, which its traits describe.
    Ordinary(Traits),
    /// The individual of this index.
    Individual(usize),
}

/// An object of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its class.
    pub class: Class,
    /// Whether it is an individual.
    pub identity: Identity,
    /// Its colours, pattern, face and emblem.
    pub look: Look,
    /// Its size, as captions state it.
    pub size: Size,
    /// Its position, scale and rotation.
    pub pose: Pose,
}

impl Object {
    /// The bounding box of all parts and their outlines, without the shadow.
    pub fn bounds(&self) -> Bounds {
        let paths: Vec<Path> = self.parts().map(|(_, path)| path).collect();
        Bounds::of(&paths).unwrap_or(Bounds::IMAGE).grown(OUTLINE)
    }

    /// Paints the object and its shadow.
    pub(crate) fn paint(&self, canvas: &mut Canvas) {
        let parts: Vec<(Ink, Path)> = self.parts().collect();
        self.cast_shadow(canvas, &parts);
        let pattern = self.pattern().and_then(|path| canvas.stencil([&path]));
        for (ink, path) in &parts {
            self.paint_part(canvas, *ink, path, pattern.as_ref());
        }
        self.paint_face(canvas);
        self.paint_emblem(canvas);
    }

    /// Paints a part over its outline, of which the outer half stays visible.
    fn paint_part(&self, canvas: &mut Canvas, ink: Ink, path: &Path, pattern: Option<&Mask>) {
        if ink == Ink::Line {
            return canvas.stroke(path, Rgb::INK, OUTLINE);
        }
        let colour = self.look.colour(ink);
        canvas.stroke(path, Rgb::INK, 2.0 * OUTLINE);
        canvas.shade(path, (colour.towards(Rgb::WHITE, 0.10), colour.towards(Rgb::INK, 0.08)));
        if let Some(pattern) = pattern.filter(|_| ink == Ink::Body) {
            canvas.fill_within(pattern, path, self.look.second);
        }
    }

    /// All parts in image coordinates.
    fn parts(&self) -> impl Iterator<Item = (Ink, Path)> {
        let place = self.pose.transform();
        let parts = Drawing::of(self.class).parts(self.look.variant);
        parts.filter_map(move |(ink, data)| Some((ink, path(data)?.transform(place)?)))
    }

    fn cast_shadow(&self, canvas: &mut Canvas, parts: &[(Ink, Path)]) {
        let solid = parts.iter().filter(|(ink, _)| *ink != Ink::Line);
        let below = Transform::from_translate(0.012, 0.022);
        let shadows: Vec<Path> = solid.filter_map(|(_, p)| p.clone().transform(below)).collect();
        if let Some(stencil) = canvas.stencil(&shadows) {
            canvas.tint(&stencil, Rgb::INK, 0.25);
        }
    }

    /// The pattern in image coordinates. It is larger than the object.
    fn pattern(&self) -> Option<Path> {
        let Spot { x, y, .. } = Drawing::of(self.class).emblem;
        self.look.decoration?.path((x, y))?.transform(self.pose.transform())
    }

    fn paint_face(&self, canvas: &mut Canvas) {
        let Some(spots) = Drawing::of(self.class).face else { return };
        for eye in spots.eyes {
            self.paint_mark(canvas, *eye, self.look.face.eye());
        }
        if let Some(mouth) = spots.mouth {
            self.paint_mark(canvas, mouth, self.look.face.mouth());
        }
    }

    /// Paints an eye or a mouth. Its outline has half the usual width, since its parts are small.
    fn paint_mark(&self, canvas: &mut Canvas, spot: Spot, parts: &[Part]) {
        let place = self.at(spot, false);
        for (ink, data) in parts {
            let Some(path) = path(data).and_then(|path| path.transform(place)) else { continue };
            if *ink != Ink::Dark {
                canvas.stroke(&path, Rgb::INK, OUTLINE);
            }
            canvas.fill(&path, self.look.colour(*ink));
        }
    }

    /// Paints the emblem on its plate. An emblem is never mirrored, since that would be another
    /// sign.
    fn paint_emblem(&self, canvas: &mut Canvas) {
        let Some(index) = self.look.emblem else { return };
        let place = self.at(Drawing::of(self.class).emblem, self.pose.mirrored);
        let placed = |data| path(data).and_then(|path| path.transform(place));
        let (Some(plate), Some(sign)) = (placed("O 0 0 100 100"), placed(emblem(index))) else {
            return;
        };
        let plate_colour = self.look.accent;
        let dark = plate_colour.distance(Rgb::WHITE) > plate_colour.distance(Rgb::INK);
        canvas.stroke(&plate, Rgb::INK, 2.0 * OUTLINE);
        canvas.fill(&plate, plate_colour);
        canvas.fill(&sign, if dark { Rgb::WHITE } else { Rgb::INK });
    }

    /// The transform from a mark's coordinates, -100 to 100, to image coordinates.
    fn at(&self, spot: Spot, mirrored: bool) -> Transform {
        let scale = spot.radius / 100.0;
        let across = if mirrored { -scale } else { scale };
        self.pose.transform().pre_translate(spot.x, spot.y).pre_scale(across, scale)
    }
}
