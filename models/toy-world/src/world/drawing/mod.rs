//! How each class is drawn: tables of parts in the path language of [`path`](crate::world::path).
//!
//! A drawing fills the square from -100 to 100, with y down, which is the coordinate system of an
//! object.

mod creatures;
mod shape;
mod things;
mod vehicles;

pub(crate) use shape::{Drawing, Role, VARIANTS};

use crate::world::class::Class;

impl Drawing {
    /// The drawing of a class.
    pub fn of(class: Class) -> &'static Self {
        match class {
            Class::Bird => &creatures::BIRD,
            Class::Boat => &vehicles::BOAT,
            Class::Butterfly => &creatures::BUTTERFLY,
            Class::Car => &vehicles::CAR,
            Class::Cat => &creatures::CAT,
            Class::Fish => &creatures::FISH,
            Class::House => &things::HOUSE,
            Class::Mug => &things::MUG,
            Class::Mushroom => &things::MUSHROOM,
            Class::Robot => &creatures::ROBOT,
            Class::Rocket => &vehicles::ROCKET,
            Class::Tree => &things::TREE,
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
            for (_, data) in Drawing::of(class).variants.into_iter().flatten() {
                let bounds = path(data).and_then(|path| path.compute_tight_bounds());
                let bounds = bounds.unwrap_or_else(|| panic!("{class:?}: {data}"));
                let reach = [bounds.left(), bounds.top(), bounds.right(), bounds.bottom()];
                assert!(reach.iter().all(|c| c.abs() <= 100.0), "{class:?}: {data} {reach:?}");
            }
        }
    }

    #[test]
    fn every_variant_has_the_parts_that_captions_name() {
        for class in Class::ALL {
            let (_, third) = class.parts();
            for parts in Drawing::of(class).variants {
                let has = |wanted| parts.iter().any(|(role, _)| *role == wanted);
                assert!(has(Role::Main) && has(Role::Second), "{class:?}");
                assert_eq!(has(Role::Third), third.is_some(), "{class:?}");
            }
        }
    }
}
