//! The parts that a drawing of a class consists of.

use crate::world::pose::Bounds;

/// What a part is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The object's main colour, with its marking.
    Main,
    /// The colour of the second part.
    Second,
    /// The colour of the third part.
    Third,
    /// Nearly black, the same for all objects of the class: eyes and the like.
    Dark,
    /// Nearly white, likewise.
    Light,
}

/// A filled path in the path language of [`path`](crate::world::path).
pub(crate) type Part = (Role, &'static str);

/// The number of variants of each class, which differ in ears, handles, sails and the like.
pub(crate) const VARIANTS: usize = 3;

/// The drawing of a class, in the square from -100 to 100 with y down. Nothing in it is smaller than 36
/// units across, which are 6 pixels of an object that fills a third of an image of 64.
pub(crate) struct Drawing {
    /// The parts of each variant in drawing order.
    pub variants: [&'static [Part]; VARIANTS],
    /// The box that the marking is fitted to, within the main part of all variants.
    pub area: Bounds,
    /// Whether the marking is repeated in the mirror image of its box, as on wings.
    pub mirrored: bool,
}

/// A box as a constant expression.
pub(super) const fn area(left: f32, top: f32, right: f32, bottom: f32) -> Bounds {
    Bounds { left, top, right, bottom }
}
