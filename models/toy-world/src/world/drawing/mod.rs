//! How each class is drawn: tables of parts in the path language of [`path`](crate::world::path).
//!
//! A drawing fills the square from -100 to 100, with y down, which is the coordinate system of an
//! object.

mod creatures;
mod plants;
mod shape;
mod things;
mod vehicles;

pub(crate) use shape::{Drawing, Ink, Part, Spot, VARIANTS};

use crate::world::class::Class;

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
