//! An object in a picture, and how it is painted.

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

/// Width of the dark line round every part, as a share of the picture's side.
const OUTLINE: f32 = 0.012;

/// Which object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// One of many, told by its traits.
    Ordinary(Traits),
    /// The individual of this index.
    Individual(usize),
}

/// An object in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub class: Class,
    /// Which one it is.
    pub identity: Identity,
    /// What it looks like.
    pub look: Look,
    /// Its size as captions tell it.
    pub size: Size,
    /// Where it is.
    pub pose: Pose,
}

impl Object {
    /// The box round all that is drawn of it, its outline included.
    pub fn bounds(&self) -> Bounds {
        let paths: Vec<Path> = self.parts().map(|(_, path)| path).collect();
        Bounds::of(&paths).unwrap_or(Bounds::PICTURE).grown(OUTLINE)
    }

    /// Paints it with a soft shadow below.
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

    /// A part over its outline, of which the outer half remains.
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

    /// All parts in the picture's coordinates.
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

    /// The pattern in the picture's coordinates, reaching beyond the object.
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

    /// A mark's parts, with half an outline, since they are small.
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

    /// The emblem on its plate. It is never mirrored, so that it stays the same sign.
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

    /// From a mark's own coordinates, -100 to 100, to the picture's.
    fn at(&self, spot: Spot, mirrored: bool) -> Transform {
        let scale = spot.radius / 100.0;
        let across = if mirrored { -scale } else { scale };
        self.pose.transform().pre_translate(spot.x, spot.y).pre_scale(across, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::background::Background;
    use crate::world::individual::Individual;
    use crate::world::pattern::Decoration;
    use crate::world::scene::Scene;

    fn rendered(objects: Vec<Object>) -> Vec<u8> {
        Scene { background: Background::White, texture: 0, objects, relation: None }.render(64).rgb
    }

    #[test]
    fn nothing_is_painted_outside_the_bounds_but_the_shadow() {
        let empty = rendered(Vec::new());
        for index in 0..Individual::COUNT {
            let pose = Pose { x: 0.4, y: 0.5, scale: 0.25, angle: 15.0, mirrored: index % 2 == 0 };
            let object = Individual::of(index).object(pose, Size::Medium);
            let bounds = object.bounds().grown(0.04);
            for (pixel, (a, b)) in rendered(vec![object]).iter().zip(&empty).enumerate() {
                let (x, y) = ((pixel / 3 % 64) as f32 / 64.0, (pixel / 192) as f32 / 64.0);
                let inside = (bounds.left..bounds.right).contains(&x)
                    && (bounds.top..bounds.bottom).contains(&y);
                assert!(a == b || inside, "{index} at {x} {y}");
            }
        }
    }

    #[test]
    fn strange_poses_and_looks_do_no_harm() {
        let pose = Pose { x: 0.5, y: 0.5, scale: 0.3, angle: 0.0, mirrored: false };
        let mut object = Individual::of(3).object(pose, Size::Large);
        for scale in [0.0, -1.0, 1e9, f32::NAN, f32::INFINITY] {
            object.pose.scale = scale;
            assert_eq!(rendered(vec![object]).len(), 64 * 64 * 3);
        }
        object.pose = pose;
        object.look.variant = usize::MAX;
        object.look.emblem = Some(usize::MAX);
        for pitch in [0.0, -5.0, 1e9, f32::NAN] {
            object.look.decoration = object.look.decoration.map(|d| Decoration { pitch, ..d });
            assert_eq!(rendered(vec![object]).len(), 64 * 64 * 3);
        }
    }
}
