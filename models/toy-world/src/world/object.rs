//! Objects and how they are painted.

use serde::{Deserialize, Serialize};
use tiny_skia::Path;

use crate::world::canvas::Canvas;
use crate::world::class::Class;
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
        let marking = self.look.marking.path(Drawing::of(self.class));
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

    /// All parts in image coordinates. Variants beyond the last one wrap around.
    fn parts(&self) -> impl Iterator<Item = (Role, Path)> {
        let place = self.pose.transform();
        let parts = Drawing::of(self.class).variants[self.look.variant % VARIANTS];
        parts.iter().filter_map(move |(role, data)| Some((*role, path(data)?.transform(place)?)))
    }
}
