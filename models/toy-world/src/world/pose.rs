//! Positions and sizes in unit coordinates: x points right and y down, both from 0 to 1.

use serde::{Deserialize, Serialize};
use tiny_skia::{Path, Transform};

/// The position, scale and rotation of an object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// The centre of the object's square, from the left.
    pub x: f32,
    /// The centre of the object's square, from the top.
    pub y: f32,
    /// Half the side of the object's square.
    pub scale: f32,
    /// Clockwise rotation, in degrees.
    pub angle: f32,
    /// Whether the object is mirrored horizontally before it is rotated.
    pub mirrored: bool,
}

impl Pose {
    /// The transform from object coordinates, -100 to 100, to image coordinates.
    pub(crate) fn transform(&self) -> Transform {
        let scale = self.scale / 100.0;
        let across = if self.mirrored { -scale } else { scale };
        Transform::from_translate(self.x, self.y).pre_rotate(self.angle).pre_scale(across, scale)
    }
}

/// A box in unit coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bounds {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Bounds {
    /// The whole image.
    pub const IMAGE: Self = Self { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };

    /// Its centre, x and y.
    pub fn centre(&self) -> (f32, f32) {
        (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom))
    }

    /// Its width.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Its height.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Whether another box lies within this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    /// The area of the intersection with another box, divided by the area of the smaller box, 0 to
    /// 1.
    pub fn overlap(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let smaller = (self.width() * self.height()).min(other.width() * other.height());
        if smaller > 0.0 { width.max(0.0) * height.max(0.0) / smaller } else { 0.0 }
    }

    /// The box extended by `margin` on all sides. A negative margin shrinks it.
    pub(crate) fn grown(&self, margin: f32) -> Self {
        Self {
            left: self.left - margin,
            top: self.top - margin,
            right: self.right + margin,
            bottom: self.bottom + margin,
        }
    }

    /// The bounding box of all paths, or `None` where there are none.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Option<Self> {
        let boxes = paths.into_iter().filter_map(Path::compute_tight_bounds);
        let boxes = boxes.map(|b| Self {
            left: b.left(),
            top: b.top(),
            right: b.right(),
            bottom: b.bottom(),
        });
        boxes.reduce(|a, b| Self {
            left: a.left.min(b.left),
            top: a.top.min(b.top),
            right: a.right.max(b.right),
            bottom: a.bottom.max(b.bottom),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::path::path;

    #[test]
    fn a_pose_moves_mirrors_and_rotates() {
        let place = |angle, mirrored| {
            let pose = Pose { x: 0.5, y: 0.5, scale: 0.2, angle, mirrored };
            let path = path("R 50 0 100 50 0").unwrap().transform(pose.transform()).unwrap();
            let (x, y) = Bounds::of([&path]).unwrap().centre();
            ((x * 100.0).round(), (y * 100.0).round())
        };
        assert_eq!(place(0.0, false), (65.0, 55.0));
        assert_eq!(place(0.0, true), (35.0, 55.0));
        assert_eq!(place(90.0, false), (45.0, 65.0));
    }

    #[test]
    fn overlap_is_relative_to_the_smaller_box() {
        let inner = Bounds::IMAGE.grown(-0.25);
        assert_eq!(Bounds::IMAGE.overlap(&inner), 1.0);
        assert!(Bounds::IMAGE.contains(&inner));
        let away = Bounds { left: 2.0, right: 3.0, ..Bounds::IMAGE };
        assert_eq!(Bounds::IMAGE.overlap(&away), 0.0);
    }
}
