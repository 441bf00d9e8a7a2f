//! What a caption asks for: the attributes that it states. The others are free.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::individual::Individual;
use crate::world::layout::{cells, place, turned};
use crate::world::look::{Look, Traits};
use crate::world::object::{Identity, Object};
use crate::world::pattern::Pattern;
use crate::world::pose::{Bounds, Size};
use crate::world::relation::Relation;
use crate::world::scene::Scene;
use crate::world::truth::{Seen, Truth};
use seqlora_core::rng::Seed;

/// What is asked of an object; `None` is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its class.
    pub class: Class,
    /// Its size.
    pub size: Option<Size>,
    /// The colour of its body.
    pub colour: Option<Colour>,
    /// Its pattern.
    pub pattern: Option<Pattern>,
    /// The colour of its pattern. Captions tell it along with the pattern alone.
    pub second: Option<Colour>,
    /// The individual that it is; colours and pattern are then its own.
    pub individual: Option<usize>,
}

impl Wanted {
    /// Any object of a class.
    pub fn any(class: Class) -> Self {
        Self { class, size: None, colour: None, pattern: None, second: None, individual: None }
    }

    /// An individual.
    pub fn individual(individual: Individual) -> Self {
        Self { individual: Some(individual.index), ..Self::any(individual.class) }
    }

    /// Whether an object is as asked.
    pub fn is_met_by(&self, seen: &Seen) -> bool {
        fn agrees<T: PartialEq>(wanted: Option<T>, seen: Option<T>) -> bool {
            wanted.is_none() || wanted == seen
        }
        self.class == seen.class
            && agrees(self.size, Some(seen.size))
            && agrees(self.colour, seen.colour)
            && agrees(self.pattern, seen.pattern)
            && agrees(self.second, seen.second)
            && agrees(self.individual, seen.individual)
    }

    fn draw(&self, alone: bool, cell: &Bounds, rng: &mut ChaCha8Rng) -> Object {
        let free = if alone { any(&Size::ALL, rng) } else { Size::Medium };
        let size = self.size.unwrap_or(free);
        let pose = turned(rng);
        let mut object = match self.individual {
            Some(index) => Individual::of(index).object(pose, size),
            None => {
                let traits = self.traits(rng);
                let look = Look::ordinary(&traits, rng);
                let identity = Identity::Ordinary(traits);
                Object { class: self.class, identity, look, size, pose }
            }
        };
        let (least, most) = size.range(alone);
        place(&mut object, rng.random_range(least..most), cell, rng);
        object
    }

    /// The traits as asked, and drawn where they are free: three in four objects are plain, with
    /// smaller parts in the colour that goes with their body's.
    fn traits(&self, rng: &mut ChaCha8Rng) -> Traits {
        let colour = self.colour.unwrap_or_else(|| any(&Colour::ALL, rng));
        let pattern = self.pattern.unwrap_or_else(|| match rng.random_bool(0.7) {
            true => Pattern::Plain,
            false => any(&Pattern::ALL, rng),
        });
        let second = self.second.unwrap_or_else(|| match pattern {
            Pattern::Plain => colour.contrasting()[0],
            _ => any(&colour.contrasting(), rng),
        });
        Traits { colour, second, pattern }
    }
}

/// What a caption asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One or two objects; more are left out of the picture.
    pub objects: Vec<Wanted>,
    /// How the first of two stands to the second.
    pub relation: Option<Relation>,
    /// What is behind them.
    pub background: Option<Background>,
}

impl Description {
    /// A scene as described, with what is free drawn from the seed.
    pub fn scene(&self, seed: &Seed, index: u64) -> Scene {
        self.draw(&mut seed.fork("scene").at(index))
    }

    /// The same with the objects in the order of [`Relation::is_canonical`].
    pub fn canonical(mut self) -> Self {
        if let Some(relation) = self.relation.filter(|relation| !relation.is_canonical()) {
            self.relation = Some(relation.reversed());
            self.objects.reverse();
        }
        self
    }

    /// Whether a picture shows what is described, in whichever order its objects are listed.
    pub fn is_met_by(&self, truth: &Truth) -> bool {
        let objects = truth.objects.iter().rev().copied().collect();
        let relation = truth.relation.map(Relation::reversed);
        let reversed = Truth { objects, relation, ..*truth };
        [truth, &reversed].into_iter().any(|truth| self.is_met_in_order_by(truth))
    }

    fn is_met_in_order_by(&self, truth: &Truth) -> bool {
        let mut objects = self.objects.iter().zip(&truth.objects);
        self.background.is_none_or(|background| background == truth.background)
            && self.relation.is_none_or(|relation| Some(relation) == truth.relation)
            && self.objects.len() == truth.objects.len()
            && objects.all(|(wanted, seen)| wanted.is_met_by(seen))
    }

    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Scene {
        let background = self.background.unwrap_or_else(|| any(&Background::ALL, rng));
        let alone = self.objects.len() < 2;
        let relation = (!alone).then(|| self.relation.unwrap_or_else(|| any(&Relation::ALL, rng)));
        let cells = cells(relation);
        let objects = self.objects.iter().zip(&cells);
        let objects = objects.map(|(wanted, cell)| wanted.draw(alone, cell, rng)).collect();
        Scene { background, texture: rng.random(), objects, relation }
    }
}

/// Any of the items, of which there is at least one.
fn any<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> T {
    items[rng.random_range(0..items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red_mug_left_of_a_cat() -> Description {
        let mug = Wanted { colour: Some(Colour::Red), ..Wanted::any(Class::Mug) };
        let objects = vec![mug, Wanted::any(Class::Cat)];
        Description { objects, relation: Some(Relation::LeftOf), background: None }
    }

    #[test]
    fn a_drawn_scene_is_as_described() {
        let description = red_mug_left_of_a_cat();
        for index in 0..50 {
            let scene = description.scene(&Seed::new(1), index);
            assert!(description.is_met_by(&scene.truth()));
            assert!(scene.description().is_met_by(&scene.truth()));
        }
    }

    #[test]
    fn the_order_of_objects_does_not_matter_but_their_relation_does() {
        let description = red_mug_left_of_a_cat();
        let truth = description.scene(&Seed::new(1), 0).truth();
        let told = |first: usize, relation| {
            let objects = vec![description.objects[first], description.objects[1 - first]];
            Description { objects, relation: Some(relation), background: None }
        };
        assert!(told(1, Relation::RightOf).is_met_by(&truth));
        assert_eq!(told(1, Relation::RightOf).canonical(), description);
        assert!(!told(1, Relation::LeftOf).is_met_by(&truth));
        assert!(!told(0, Relation::Above).is_met_by(&truth));
    }

    #[test]
    fn individuals_and_strange_requests_are_drawn() {
        let individual = Wanted::individual(Individual::of(usize::MAX));
        for count in 0..4 {
            let objects = vec![individual; count];
            let description = Description { objects, ..Description::default() };
            let scene = description.scene(&Seed::new(0), 0);
            assert_eq!(scene.objects.len(), count.min(2));
            assert_eq!(scene.render(16).rgb.len(), 16 * 16 * 3);
        }
    }
}
