//! How each class is drawn: tables of parts in the path language of [`path`](crate::world::path).
//!
//! A class fills the square from -100 to 100, y down, which is an object's own coordinate system.

mod creatures;
mod plants;
mod things;
mod vehicles;

use crate::world::class::Class;

/// What a part is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// The object's colour, with its pattern.
    Body,
    /// The object's colour without its pattern.
    Bare,
    /// The object's second colour.
    Second,
    /// Nothing: only the line is drawn.
    Line,
    Dark,
    Light,
    Glass,
    Wood,
    Leaf,
    Beak,
}

/// A filled path with a dark line round it.
pub(crate) type Part = (Ink, &'static str);

/// A round place on an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

/// Where a face is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaceSpot {
    /// The eyes, and how large they are.
    pub eyes: &'static [Spot],
    /// The mouth, for faces seen from the front.
    pub mouth: Option<Spot>,
}

/// How a class is drawn.
pub(crate) struct Drawing {
    /// The parts in which the variants differ, drawn first.
    pub variants: [&'static [Part]; VARIANTS],
    /// The parts that all variants share.
    pub shared: &'static [Part],
    /// Where an individual wears its emblem.
    pub emblem: Spot,
    /// Where its face is, if it has one.
    pub face: Option<FaceSpot>,
}

/// Variants of each class: other ears, handles, sails.
pub(crate) const VARIANTS: usize = 3;

const fn spot(x: f32, y: f32, radius: f32) -> Spot {
    Spot { x, y, radius }
}

impl Drawing {
    /// The drawing of a class.
    pub fn of(class: Class) -> &'static Self {
        match class {
            Class::Ball => &things::BALL,
            Class::Bird => &creatures::BIRD,
            Class::Boat => &vehicles::BOAT,
            Class::Butterfly => &creatures::BUTTERFLY,
            Class::Car => &vehicles::CAR,
            Class::Cat => &creatures::CAT,
            Class::Fish => &creatures::FISH,
            Class::Flower => &plants::FLOWER,
            Class::Hat => &things::HAT,
            Class::House => &things::HOUSE,
            Class::Mug => &things::MUG,
            Class::Robot => &creatures::ROBOT,
            Class::Rocket => &vehicles::ROCKET,
            Class::Star => &things::STAR,
            Class::Tree => &plants::TREE,
            Class::Umbrella => &things::UMBRELLA,
        }
    }

    /// All parts of a variant in the order in which they are drawn.
    pub fn parts(&self, variant: usize) -> impl Iterator<Item = Part> + Clone {
        self.variants[variant % VARIANTS].iter().chain(self.shared).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::path::path;

    #[test]
    fn every_part_is_a_path_within_the_square() {
        for class in Class::ALL {
            let drawing = Drawing::of(class);
            for (_, data) in (0..VARIANTS).flat_map(|variant| drawing.parts(variant)) {
                let bounds = path(data).and_then(|path| path.compute_tight_bounds());
                let bounds = bounds.unwrap_or_else(|| panic!("{class:?}: {data}"));
                let reach = [bounds.left(), bounds.top(), bounds.right(), bounds.bottom()];
                assert!(reach.iter().all(|c| c.abs() <= 100.0), "{class:?}: {data} {reach:?}");
            }
        }
    }

    #[test]
    fn every_class_shows_its_colour() {
        for class in Class::ALL {
            for variant in 0..VARIANTS {
                let mut parts = Drawing::of(class).parts(variant);
                assert!(parts.any(|(ink, _)| ink == Ink::Body), "{class:?} {variant}");
            }
        }
    }
}
