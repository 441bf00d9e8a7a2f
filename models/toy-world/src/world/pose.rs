//! Where an object is and how large, in unit coordinates: x right and y down, both from 0 to 1.

use serde::{Deserialize, Serialize};
use tiny_skia::{Path, Transform};

/// Size as captions tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Plainly smaller than most.
    Small,
    /// Ordinary; captions do not mention it.
    Medium,
    /// Fills much of the picture.
    Large,
}

impl Size {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// What captions call it, the most common word first; nothing for [`Medium`](Self::Medium).
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Small => &["small", "little", "tiny"],
            Self::Medium => &[],
            Self::Large => &["large", "big", "huge"],
        }
    }

    /// The range of the longer side, for an object that is alone or one of two.
    pub(crate) fn range(self, alone: bool) -> (f32, f32) {
        match (self, alone) {
            (Self::Small, true) => (0.38, 0.45),
            (Self::Medium, true) => (0.56, 0.67),
            (Self::Large, true) => (0.78, 0.90),
            (Self::Small, false) => (0.30, 0.34),
            (Self::Medium, false) => (0.40, 0.45),
            (Self::Large, false) => (0.46, 0.47),
        }
    }
}

/// How an object is placed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// The middle of the object's own square.
    pub x: f32,
    /// See `x`.
    pub y: f32,
    /// Half the side of the object's own square.
    pub scale: f32,
    /// Turned clockwise by so many degrees.
    pub angle: f32,
    /// Whether left and right are exchanged, before it is turned.
    pub mirrored: bool,
}

impl Pose {
    /// From the object's coordinates, -100 to 100, to the picture's.
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
    /// The whole picture.
    pub const PICTURE: Self = Self { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };

    /// Its middle, x and y.
    pub fn centre(&self) -> (f32, f32) {
        (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom))
    }

    /// From left to right.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// From top to bottom.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Whether another box lies in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    /// What it shares with another box, as a share of the smaller of the two, 0 to 1.
    pub fn overlap(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let smaller = (self.width() * self.height()).min(other.width() * other.height());
        if smaller > 0.0 { width.max(0.0) * height.max(0.0) / smaller } else { 0.0 }
    }

    /// The box grown by `margin` on all sides; shrunk where that is negative.
    pub(crate) fn grown(&self, margin: f32) -> Self {
        Self {
            left: self.left - margin,
            top: self.top - margin,
            right: self.right + margin,
            bottom: self.bottom + margin,
        }
    }

    /// The box round all paths, `None` where there are none.
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
    fn a_pose_places_mirrors_and_turns() {
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
    fn overlap_is_a_share_of_the_smaller_box() {
        let inner = Bounds::PICTURE.grown(-0.25);
        assert_eq!(Bounds::PICTURE.overlap(&inner), 1.0);
        assert!(Bounds::PICTURE.contains(&inner));
        let away = Bounds { left: 2.0, right: 3.0, ..Bounds::PICTURE };
        assert_eq!(Bounds::PICTURE.overlap(&away), 0.0);
    }
}
