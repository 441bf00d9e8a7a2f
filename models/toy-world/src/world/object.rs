//! Objects and how they are painted.

use serde::{Deserialize, Serialize};
use tiny_skia::Path;

use crate::world::canvas::Canvas;
use crate::world::class::Class;
use crate::world::colour::Rgb;
use crate::world::drawing::{Drawing, Role, VARIANTS};
use crate::world::look::Look;
use crate::world::path::path;
use crate::world::pose::{Bounds, Pose};

/// An object of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its class.
    pub class: Class,
    /// Its colours, marking and variant.
    pub look: Look,
    /// The individual that it is, if captions name it as one.
    pub individual: Option<usize>,
    /// Its position, scale and rotation.
    pub pose: Pose,
}

impl Object {
    /// The bounding box of all parts.
    pub fn bounds(&self) -> Bounds {
        let paths: Vec<Path> = self.parts().map(|(_, path)| path).collect();
        Bounds::of(&paths).unwrap_or(Bounds::IMAGE)
    }

    /// Paints its parts in flat colours, and the marking on the main part.
    pub(crate) fn paint(&self, canvas: &mut Canvas) {
        let marking = self.look.marking.path(Drawing::of(self.class), self.pose.mirrored);
        let marking = marking.and_then(|path| path.transform(self.pose.transform()));
        for (role, path) in self.parts() {
            canvas.fill(&path, self.look.colour(role));
            if let (Role::Main, Some(marking)) = (role, &marking)
                && let Some(stencil) = canvas.stencil([&path])
            {
                canvas.fill_within(&stencil, marking, self.look.marked.rgb());
            }
        }
    }

    /// Paints all its parts in one colour.
    pub(crate) fn paint_silhouette(&self, canvas: &mut Canvas, colour: Rgb) {
        self.parts().for_each(|(_, path)| canvas.fill(&path, colour));
    }

    /// All parts in image coordinates. Variants beyond the last one wrap around.
    fn parts(&self) -> impl Iterator<Item = (Role, Path)> {
        let place = self.pose.transform();
        let parts = Drawing::of(self.class).variants[self.look.variant % VARIANTS];
        parts.iter().filter_map(move |(role, data)| Some((*role, path(data)?.transform(place)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::background::Background;
    use crate::world::colour::Colour;
    use crate::world::marking::Marking;
    use crate::world::scene::Scene;

    /// The mean horizontal position of the marking's colour, in pixels of 64.
    fn marked_at(class: Class, mirrored: bool) -> f32 {
        let look = Look {
            variant: 0,
            main: Colour::Red,
            second: Colour::White,
            third: Colour::White,
            marking: Marking::Half,
            marked: Colour::Blue,
        };
        let pose = Pose { x: 0.5, y: 0.5, scale: 0.25, angle: 0.0, mirrored };
        let objects = vec![Object { class, look, individual: None, pose }];
        let scene = Scene { background: Background::Sand, texture: 0, objects, relation: None };
        let blue = Colour::Blue.rgb();
        let image = scene.render(64);
        let pixels = image.rgb.chunks_exact(3).enumerate();
        let columns: Vec<f32> = pixels
            .filter(|(_, pixel)| **pixel == [blue.0, blue.1, blue.2])
            .map(|(at, _)| (at % 64) as f32)
            .collect();
        columns.iter().sum::<f32>() / columns.len() as f32
    }

    #[test]
    fn a_half_is_on_the_right_of_a_mirrored_object_too() {
        for class in [Class::Tree, Class::House, Class::Mug, Class::Car] {
            for mirrored in [false, true] {
                let at = marked_at(class, mirrored);
                assert!(at > 33.0, "{class:?}, mirrored {mirrored}: {at}");
            }
        }
    }
}
