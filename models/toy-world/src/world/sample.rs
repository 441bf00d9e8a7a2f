//! How scenes are sampled: at random, from a description, or as references of an individual.
//!
//! Every scene is a function of a seed and an index.

use rand::RngExt;
use rand::seq::{IteratorRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::description::{Description, ObjectDescription};
use crate::world::individual::Individual;
use crate::world::layout::{cells, place, rotated};
use crate::world::look::Look;
use crate::world::object::Object;
use crate::world::pose::Bounds;
use crate::world::relation::Relation;
use crate::world::scene::Scene;
use crate::world::split::Split;
use seqlora_core::rng::Seed;

/// The longer side of an object that is alone, in units of the image's side: 29 to 45 of 64 pixels. The
/// smallest are as large as one of two, so that a prompt with one object does not ask for a large one.
const ALONE: (f32, f32) = (0.455, 0.70);

/// The longer side of one of two objects: 29 to 30 of 64 pixels.
const PAIRED: (f32, f32) = (0.455, 0.475);

/// Which scenes [`Scene::random`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SceneOptions {
    /// Which combinations may occur.
    pub split: Split,
    /// Probability that a scene has two objects, 0 to 1.
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
        let count = 1 + usize::from(rng.random_bool(pair_probability.clamp(0.0, 1.0)));
        let mut object = || ObjectDescription::any(any(&Class::ALL, rng));
        let objects = (0..count).map(|_| object()).collect();
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
        let pose = rotated(rng);
        let mut object = match self.individual {
            Some(index) => Individual::of(index).object(pose),
            None => Object { class: self.class, look: self.look(rng), individual: None, pose },
        };
        let (least, most) = if alone { ALONE } else { PAIRED };
        place(&mut object, rng.random_range(least..most), cell, rng);
        object
    }

    /// The look that is stated; what is free is sampled, so that neighbouring parts differ in colour
    /// wherever the statement leaves a choice.
    fn look(&self, rng: &mut ChaCha8Rng) -> Look {
        loop {
            let look = Look::random(rng);
            let look = Look {
                variant: self.variant.unwrap_or(look.variant),
                main: self.main.unwrap_or(look.main),
                second: self.second.unwrap_or(look.second),
                third: self.third.unwrap_or(look.third),
                marking: self.marking.unwrap_or(look.marking),
                marked: self.marked.unwrap_or(look.marked),
            };
            let clash = |free: bool, a: Colour, b: Colour| free && a == b;
            let clashes =
                clash(self.main.is_none() || self.second.is_none(), look.main, look.second)
                    || clash(self.third.is_none(), look.third, look.main)
                    || clash(self.third.is_none(), look.third, look.second)
                    || clash(self.marked.is_none() || self.main.is_none(), look.marked, look.main);
            if !clashes {
                return look;
            }
        }
    }
}

impl Individual {
    /// Scenes that show the individual alone, each in another pose. The first eight have different
    /// backgrounds, after which the backgrounds repeat.
    pub fn references(&self, seed: &Seed, count: usize) -> Vec<Scene> {
        let mut rng = seed.fork(&self.id()).at(0);
        let mut backgrounds = Background::ALL;
        backgrounds.shuffle(&mut rng);
        let scene = |background: Background| {
            let objects = vec![ObjectDescription::individual(*self)];
            Description { objects, relation: None, background: Some(background) }.sample(&mut rng)
        };
        backgrounds.into_iter().cycle().take(count).map(scene).collect()
    }

    /// Scenes that show the individual and an ordinary object, which is of another class in the first, of
    /// its own class in the second, and so on.
    pub fn in_company(&self, seed: &Seed, count: usize) -> Vec<Scene> {
        let mut rng = seed.fork(&self.id()).fork("in company").at(0);
        let scene = |number: usize| {
            let others = Class::ALL.into_iter().filter(|class| *class != self.class);
            let class = if number.is_multiple_of(2) { others.choose(&mut rng) } else { None };
            let other = ObjectDescription::any(class.unwrap_or(self.class));
            let mut objects = vec![ObjectDescription::individual(*self), other];
            objects.shuffle(&mut rng);
            Description { objects, ..Description::default() }.sample(&mut rng)
        };
        (0..count).map(scene).collect()
    }
}

/// A uniformly random item of a table that is not empty.
fn any<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> T {
    items[rng.random_range(0..items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::truth::{ObjectTruth, Truth};
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
                assert_eq!(
                    Split::of_pair(object.class, object.look.main),
                    Split::Train,
                    "{object:?}"
                );
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
            ObjectDescription { main: Some(Colour::Red), ..ObjectDescription::any(Class::Mug) };
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
            assert_eq!((truth.objects.len(), truth.objects[0].look), (1, individual.look));
        }
        assert_eq!(references, individual.references(&Seed::new(0), 6));
    }

    #[test]
    fn every_second_companion_is_of_the_same_class() {
        let individual = Individual::of(42);
        let scenes = individual.in_company(&Seed::new(0), 8);
        for (number, scene) in scenes.iter().enumerate() {
            let truth = scene.truth();
            let (own, others): (Vec<ObjectTruth>, Vec<ObjectTruth>) =
                truth.objects.iter().partition(|object| object.individual == Some(42));
            assert_eq!((own.len(), others.len()), (1, 1));
            assert_eq!(others[0].class == individual.class, !number.is_multiple_of(2));
            assert_eq!(others[0].individual, None);
        }
        assert_eq!(scenes, individual.in_company(&Seed::new(0), 8));
    }
}
