//! The parts that a drawing of a class consists of.

/// What a part is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// The object's colour, with its pattern.
    Body,
    /// The object's colour without its pattern.
    Bare,
    /// The object's second colour.
    Second,
    /// Nothing: only the outline is drawn.
    Line,
    Dark,
    Light,
    Glass,
    Wood,
    Leaf,
    Beak,
}

/// A filled path with a dark outline, in the path language of [`path`](crate::world::path).
pub(crate) type Part = (Ink, &'static str);

/// A circle on an object that holds an eye, a mouth or an emblem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

/// Where a face is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaceSpot {
    /// The eyes.
    pub eyes: &'static [Spot],
    /// The mouth, for faces seen from the front.
    pub mouth: Option<Spot>,
}

/// The drawing of a class, in the square from -100 to 100 with y down.
pub(crate) struct Drawing {
    /// The parts in which the variants differ. They are drawn first.
    pub variants: [&'static [Part]; VARIANTS],
    /// The parts that all variants share.
    pub shared: &'static [Part],
    /// Where the emblem of an individual is drawn.
    pub emblem: Spot,
    /// Where the face is, if the class has one.
    pub face: Option<FaceSpot>,
}

/// The number of variants of each class, which differ in ears, handles, sails and the like.
pub(crate) const VARIANTS: usize = 3;

impl Drawing {
    /// All parts of a variant in drawing order. Variants beyond the last one wrap around.
    pub fn parts(&self, variant: usize) -> impl Iterator<Item = Part> + Clone {
        self.variants[variant % VARIANTS].iter().chain(self.shared).copied()
    }
}

/// A [`Spot`] as a constant expression.
pub(super) const fn spot(x: f32, y: f32, radius: f32) -> Spot {
    Spot { x, y, radius }
}
