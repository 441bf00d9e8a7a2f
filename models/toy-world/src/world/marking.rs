//! Markings: one large figure on the main part of an object.

use serde::{Deserialize, Serialize};
use tiny_skia::Path;

use crate::world::drawing::Drawing;
use crate::world::path::path;
use crate::world::pose::Bounds;

/// A marking that captions have words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Marking {
    Plain,
    Half,
    Band,
    Ring,
    Dots,
}

/// The least width of a figure in object coordinates, which span 200: 6 pixels of an object that is 30
/// pixels wide.
const LEAST: f32 = 40.0;

impl Marking {
    /// All markings.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Half, Self::Band, Self::Ring, Self::Dots];

    /// Its word in captions, after "with a red ..."; none for [`Plain`](Self::Plain).
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Half => Some("half"),
            Self::Band => Some("band"),
            Self::Ring => Some("ring"),
            Self::Dots => Some("dots"),
        }
    }

    /// Its figure on the main part of a drawing, in object coordinates. `flipped` says whether the object's
    /// pose mirrors it.
    pub(crate) fn path(self, drawing: &Drawing, flipped: bool) -> Option<Path> {
        let mirror = if drawing.mirrored { " X" } else { "" };
        let figure = match self {
            // The half is the right one in the image: in a flipped object of a symmetric class nobody could
            // tell which of the two colours is the main one.
            Self::Half if flipped && !drawing.mirrored => {
                format!("R -200 -200 {} 200 0", drawing.area.centre().0)
            }
            _ => self.figure(&drawing.area)?,
        };
        path(&(figure + mirror))
    }

    /// The figure within a box, in the language of paths.
    fn figure(self, area: &Bounds) -> Option<String> {
        let ((x, y), (width, height)) = (area.centre(), (area.width(), area.height()));
        let wide = width > 1.7 * height;
        match self {
            Self::Plain => None,
            Self::Half => Some(format!("R {x} -200 200 200 0")),
            Self::Band if wide => {
                let half = (0.16 * width).max(LEAST / 2.0);
                Some(format!("R {} -200 {} 200 0", x - half, x + half))
            }
            Self::Band => {
                let half = (0.19 * height).max(LEAST / 2.0);
                Some(format!("R {} {} 200 {} 0", area.left - 60.0, y - half, y + half))
            }
            Self::Ring => {
                let outer = (0.46 * width.min(height)).max(34.0);
                let inner = (0.44 * outer).max(14.0);
                Some(format!("O {x} {y} {outer} {outer} O {x} {y} -{inner} {inner}"))
            }
            Self::Dots => {
                let radius = (0.17 * width.min(height)).max(LEAST / 2.0);
                let (dx, dy) = ((0.28 * width).max(1.25 * radius), (0.24 * height).max(radius));
                if width < 2.2 * LEAST {
                    return Some(format!(
                        "O {x} {} {radius} {radius} O {x} {} {radius} {radius}",
                        y - dy,
                        y + dy
                    ));
                }
                let points = match wide {
                    true => [(-0.34 * width, 0.0), (0.0, 0.0), (0.34 * width, 0.0)],
                    false => [(-dx, -dy), (dx, -dy), (0.0, dy)],
                };
                let dot =
                    |(dx, dy): (f32, f32)| format!("O {} {} {radius} {radius} ", x + dx, y + dy);
                Some(points.map(dot).concat())
            }
        }
    }
}
