//! How scenes are sampled: at random, from a description, or as references of an individual.
//!
//! Every scene is a function of a seed and an index.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::description::{Description, ObjectDescription};
use crate::world::individual::Individual;
use crate::world::layout::{cells, place, rotated};
use crate::world::look::{Look, Traits};
use crate::world::object::{Identity, Object};
use crate::world::pattern::Pattern;
use crate::world::pose::{Bounds, Size};
use crate::world::relation::Relation;
use crate::world::scene::Scene;
use crate::world::split::Split;
use seqlora_core::rng::Seed;

/// Which scenes [`Scene::random`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SceneOptions {
    /// Which combinations may occur.
    pub split: Split,
    /// Probability that a scene has two objects, 0 to 1. They are of different classes.
    pub pair_probability: f64,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self { split: Split::Train, pair_probability: 0.5 }
    }
}

impl Scene {
    /// The scene of an index: a function of the seed, the index and the options alone.
    pub fn random(seed: &Seed, index: u64, options: &SceneOptions) -> Self {
        let mut rng = seed.fork("scene").at(index);
        loop {
            let scene = Self::any(options.pair_probability, &mut rng);
            if Split::of(&scene.description()) == options.split {
                return scene;
            }
        }
    }

    fn any(pair_probability: f64, rng: &mut ChaCha8Rng) -> Self {
        let first = rng.random_range(0..Class::ALL.len());
        let other = (first + rng.random_range(1..Class::ALL.len())) % Class::ALL.len();
        let mut objects = vec![ObjectDescription::any(Class::ALL[first])];
        if rng.random_bool(pair_probability.clamp(0.0, 1.0)) {
            objects.push(ObjectDescription::any(Class::ALL[other]));
        }
        Description { objects, ..Description::default() }.sample(rng)
    }
}

impl Description {
    /// A scene that matches the description, with the free attributes sampled from the seed.
    pub fn scene(&self, seed: &Seed, index: u64) -> Scene {
        self.sample(&mut seed.fork("scene").at(index))
    }

    fn sample(&self, rng: &mut ChaCha8Rng) -> Scene {
        let background = self.background.unwrap_or_else(|| any(&Background::ALL, rng));
        let alone = self.objects.len() < 2;
        let relation = (!alone).then(|| self.relation.unwrap_or_else(|| any(&Relation::ALL, rng)));
        let cells = cells(relation);
        let objects = self.objects.iter().zip(&cells);
        let objects = objects.map(|(object, cell)| object.sample(alone, cell, rng)).collect();
        Scene { background, texture: rng.random(), objects, relation }
    }
}

impl ObjectDescription {
    fn sample(&self, alone: bool, cell: &Bounds, rng: &mut ChaCha8Rng) -> Object {
        let free = if alone { any(&Size::ALL, rng) } else { Size::Medium };
        let size = self.size.unwrap_or(free);
        let pose = rotated(rng);
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

    /// The traits that are stated; free ones are sampled.
    ///
    /// A free pattern is plain with probability 0.7 + 0.3 / 5. The smaller parts of a plain object
    /// have the first colour that contrasts with its body.
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

impl Individual {
    /// Scenes that show the individual alone, each in another pose. The first ten have different
    /// backgrounds, after which the backgrounds repeat.
    pub fn references(&self, seed: &Seed, count: usize) -> Vec<Scene> {
        let mut rng = seed.fork(&self.id()).at(0);
        let mut backgrounds = Background::ALL;
        backgrounds.shuffle(&mut rng);
        let sizes = [Size::Large, Size::Medium];
        let scene = |(number, background): (usize, Background)| {
            let object = ObjectDescription {
                size: Some(sizes[number % 2]),
                ..ObjectDescription::individual(*self)
            };
            let description = Description {
                objects: vec![object],
                background: Some(background),
                ..Description::default()
            };
            description.sample(&mut rng)
        };
        backgrounds.into_iter().cycle().take(count).enumerate().map(scene).collect()
    }
}

/// A uniformly random item of a table that is not empty.
fn any<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> T {
    items[rng.random_range(0..items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::truth::Truth;
    use std::collections::HashSet;

    fn scenes(count: u64, options: SceneOptions) -> impl Iterator<Item = Scene> {
        (0..count).map(move |index| Scene::random(&Seed::new(7), index, &options))
    }

    #[test]
    fn a_scene_is_a_function_of_seed_and_index() {
        let scene = |seed, index| Scene::random(&Seed::new(seed), index, &SceneOptions::default());
        assert_eq!(scene(1, 2), scene(1, 2));
        assert_eq!(scene(1, 2).render(48), scene(1, 2).render(48));
        assert_ne!(scene(1, 2), scene(2, 2));
        assert_ne!(scene(1, 2), scene(1, 3));
    }

    #[test]
    fn training_scenes_contain_no_held_out_combination() {
        for scene in scenes(20_000, SceneOptions::default()) {
            let Truth { objects, relation, .. } = scene.truth();
            for object in &objects {
                let colour = object.colour.unwrap();
                assert_eq!(Split::of_pair(object.class, colour), Split::Train, "{object:?}");
                assert!(Bounds::IMAGE.contains(&object.bounds), "{object:?}");
            }
            if let (Some(relation), [first, second]) = (relation, &objects[..]) {
                assert_eq!(Split::of_triple(first.class, relation, second.class), Split::Train);
                assert!(relation.holds(&first.bounds, &second.bounds), "{objects:?}");
                assert_eq!(first.bounds.overlap(&second.bounds), 0.0);
            }
        }
    }

    #[test]
    fn held_out_scenes_are_held_out() {
        let options = SceneOptions { split: Split::HeldOut, pair_probability: 0.5 };
        for scene in scenes(200, options) {
            assert_eq!(Split::of(&scene.description()), Split::HeldOut);
        }
    }

    #[test]
    fn a_sampled_scene_matches_its_description() {
        let mug =
            ObjectDescription { colour: Some(Colour::Red), ..ObjectDescription::any(Class::Mug) };
        let objects = vec![mug, ObjectDescription::any(Class::Cat)];
        let description =
            Description { objects, relation: Some(Relation::LeftOf), background: None };
        for index in 0..50 {
            let scene = description.scene(&Seed::new(1), index);
            assert!(description.matches(&scene.truth()));
            assert!(scene.description().matches(&scene.truth()));
        }
    }

    #[test]
    fn unusual_descriptions_give_scenes_of_at_most_two_objects() {
        let individual = ObjectDescription::individual(Individual::of(usize::MAX));
        for count in 0..4 {
            let objects = vec![individual; count];
            let description = Description { objects, ..Description::default() };
            let scene = description.scene(&Seed::new(0), 0);
            assert_eq!(scene.objects.len(), count.min(2));
            assert_eq!(scene.render(16).rgb.len(), 16 * 16 * 3);
        }
    }

    #[test]
    fn references_show_one_individual_on_different_backgrounds() {
        let individual = Individual::of(42);
        let references = individual.references(&Seed::new(0), 6);
        let backgrounds: HashSet<_> = references.iter().map(|scene| scene.background).collect();
        assert_eq!((references.len(), backgrounds.len()), (6, 6));
        for scene in &references {
            let truth = scene.truth();
            assert_eq!(truth.objects[0].individual, Some(42));
            assert_eq!((truth.objects.len(), truth.objects[0].colour), (1, None));
        }
        assert_eq!(references, individual.references(&Seed::new(0), 6));
    }
}
