//! Patterns on the body of an object.

use serde::{Deserialize, Serialize};
use tiny_skia::{Path, Transform};

use crate::world::path::{path, repeat};

/// A pattern that captions have a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Pattern {
    Plain,
    Striped,
    Dotted,
    Checked,
    Ringed,
}

impl Pattern {
    /// All patterns.
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::Striped, Self::Dotted, Self::Checked, Self::Ringed];

    /// The adjectives of captions, the most common one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["plain"],
            Self::Striped => &["striped"],
            Self::Dotted => &["dotted", "spotted"],
            Self::Checked => &["checked", "checkered"],
            Self::Ringed => &["ringed"],
        }
    }

    /// The nouns of captions, the most common one first; none for [`Plain`](Self::Plain).
    pub fn nouns(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Striped => &["stripes"],
            Self::Dotted => &["dots", "spots"],
            Self::Checked => &["checks"],
            Self::Ringed => &["rings"],
        }
    }

    /// The motif that the pattern repeats, if any.
    pub(crate) fn motif(self) -> Option<Motif> {
        match self {
            Self::Plain => None,
            Self::Striped => Some(Motif::Stripes),
            Self::Dotted => Some(Motif::Dots),
            Self::Checked => Some(Motif::Checks),
            Self::Ringed => Some(Motif::Rings),
        }
    }
}

/// The figure that a pattern repeats. Captions have words only for the first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Motif {
    Stripes,
    Dots,
    Checks,
    Rings,
    Zigzags,
    Triangles,
    Crosses,
    Diamonds,
    Hearts,
    Scales,
    Tartan,
    Rays,
    Halves,
    Patches,
}

impl Motif {
    /// The motifs that only individuals have.
    pub const UNNAMED: [Self; 10] = [
        Self::Zigzags,
        Self::Halves,
        Self::Triangles,
        Self::Rays,
        Self::Crosses,
        Self::Patches,
        Self::Diamonds,
        Self::Tartan,
        Self::Hearts,
        Self::Scales,
    ];

    /// Its path, which is a tile from -50 to 50 or the whole pattern, and how it fills the plane.
    fn figure(self) -> (&'static str, Extent) {
        use Extent::{Rows, Staggered, Whole};
        match self {
            Self::Stripes => ("R -50 -20 50 20 0", Rows),
            Self::Dots => ("O 0 0 27 27", Staggered),
            Self::Checks => ("R -48 -48 -4 -4 0 R 4 4 48 48 0", Rows),
            Self::Rings => (
                "O 0 0 85 85 O 0 0 -42 42 O 0 0 185 185 O 0 0 -142 142 O 0 0 285 285 \
                 O 0 0 -242 242 O 0 0 385 385 O 0 0 -342 342 O 0 0 485 485 O 0 0 -442 442",
                Whole,
            ),
            Self::Zigzags => ("M -50 4 L 0 -44 50 4 50 44 0 -4 -50 44 Z", Rows),
            Self::Triangles => ("M 0 -38 L 42 34 -42 34 Z", Staggered),
            Self::Crosses => ("R -13 -40 13 40 0 R -40 -13 40 13 0", Staggered),
            Self::Diamonds => ("M 0 -50 L 34 0 0 50 -34 0 Z", Staggered),
            Self::Hearts => ("M 0 42 C -70 -4 -44 -46 0 -18 C 44 -46 70 -4 0 42 Z", Staggered),
            Self::Scales => ("M -46 -30 L 46 -30 Q 46 36 0 38 Q -46 36 -46 -30 Z", Staggered),
            Self::Tartan => ("R -50 -38 50 -12 0 R -50 14 50 22 0 R -38 -50 -12 50 0", Rows),
            Self::Rays => (
                "M 0 0 L 500 -80 500 130 Z M 0 0 L 300 400 200 500 Z M 0 0 L -80 500 -250 500 Z \
                 M 0 0 L -500 250 -500 60 Z M 0 0 L -500 -150 -500 -400 Z M 0 0 \
                 L -250 -500 -60 -500 Z M 0 0 L 130 -500 350 -500 Z",
                Whole,
            ),
            Self::Halves => ("R -600 0 600 600 0", Whole),
            Self::Patches => (
                "O -110 -110 95 70 O 120 -60 80 90 O -30 90 100 70 O -190 110 60 80 \
                 O 170 170 90 70 O 30 -210 90 60 O -230 -20 50 60 O -60 250 100 60",
                Whole,
            ),
        }
    }
}

/// How a motif fills the plane.
enum Extent {
    /// Tiles in rows and columns.
    Rows,
    /// Tiles in rows, of which every other row is shifted by half a tile.
    Staggered,
    /// The figure is drawn once.
    Whole,
}

/// A motif with its scale and rotation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decoration {
    /// The motif.
    pub motif: Motif,
    /// The side of a tile, in hundredths of half the object's side.
    pub pitch: f32,
    /// Clockwise rotation, in degrees.
    pub angle: f32,
}

impl Decoration {
    /// The pattern in object coordinates, centred on a point.
    pub(crate) fn path(&self, (x, y): (f32, f32)) -> Option<Path> {
        let (figure, extent) = self.motif.figure();
        let figure = path(figure)?;
        let whole = match extent {
            Extent::Whole => figure,
            Extent::Rows => repeat(&figure, self.tiles(0.0))?,
            Extent::Staggered => repeat(&figure, self.tiles(50.0))?,
        };
        let scale = self.pitch / 100.0;
        let place = Transform::from_translate(x, y).pre_rotate(self.angle).pre_scale(scale, scale);
        whole.transform(place)
    }

    /// The positions of tiles that cover the object at any rotation.
    fn tiles(&self, shift: f32) -> impl Iterator<Item = (f32, f32)> {
        let reach = (150.0 / self.pitch.max(10.0)).ceil() as i32;
        let rows = (-reach..=reach).flat_map(move |row| {
            let shift = if row % 2 == 0 { 0.0 } else { shift };
            (-reach..=reach).map(move |column| (column as f32 * 100.0 + shift, row as f32 * 100.0))
        });
        rows.filter(move |(x, y)| x.hypot(*y) < (reach as f32 + 0.6) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_covers_the_object() {
        let named = Pattern::ALL.into_iter().filter_map(Pattern::motif);
        for motif in named.chain(Motif::UNNAMED) {
            let path = Decoration { motif, pitch: 40.0, angle: 30.0 }.path((0.0, 0.0)).unwrap();
            assert!(path.bounds().width().min(path.bounds().height()) > 140.0, "{motif:?}");
        }
    }

    #[test]
    fn captions_have_no_word_for_the_motifs_of_individuals() {
        let mut named = Pattern::ALL.into_iter().filter_map(Pattern::motif);
        assert!(named.all(|motif| !Motif::UNNAMED.contains(&motif)));
    }
}
