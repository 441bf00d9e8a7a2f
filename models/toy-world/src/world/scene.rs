//! Scenes: pure data from which pictures, captions and ground truth are made.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::canvas::{Canvas, Picture};
use crate::world::class::Class;
use crate::world::description::{Description, Wanted};
use crate::world::individual::Individual;
use crate::world::object::Object;
use crate::world::pattern::Pattern;
use crate::world::pose::Size;
use crate::world::relation::Relation;
use crate::world::split::Split;
use crate::world::truth::{Seen, Truth};
use seqlora_core::rng::Seed;

/// One or two objects before a background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// What is behind the objects.
    pub background: Background,
    /// Seed of the background's details.
    pub texture: u64,
    /// One or two objects, the later ones in front.
    pub objects: Vec<Object>,
    /// How the first of two objects stands to the second.
    pub relation: Option<Relation>,
}

/// What [`Scene::random`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SceneOptions {
    /// Which combinations may occur.
    pub split: Split,
    /// Share of scenes with two objects, 0 to 1. They are of different classes.
    pub pairs: f64,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self { split: Split::Train, pairs: 0.5 }
    }
}

impl Scene {
    /// The scene of an index: a function of the seed, the index and the options alone.
    pub fn random(seed: &Seed, index: u64, options: &SceneOptions) -> Self {
        let mut rng = seed.fork("scene").at(index);
        loop {
            let scene = Self::any(options.pairs, &mut rng);
            if Split::of(&scene.description()) == options.split {
                return scene;
            }
        }
    }

    fn any(pairs: f64, rng: &mut ChaCha8Rng) -> Self {
        let first = rng.random_range(0..Class::ALL.len());
        let other = (first + rng.random_range(1..Class::ALL.len())) % Class::ALL.len();
        let mut objects = vec![Wanted::any(Class::ALL[first])];
        if rng.random_bool(pairs.clamp(0.0, 1.0)) {
            objects.push(Wanted::any(Class::ALL[other]));
        }
        Description { objects, ..Description::default() }.draw(rng)
    }

    /// The picture of `size` pixels a side, which is held to 1 to 2048.
    pub fn render(&self, size: usize) -> Picture {
        let Some(mut canvas) = Canvas::new(size) else {
            return Picture { size: 0, rgb: Vec::new() };
        };
        self.background.paint(&mut canvas, &mut Seed::new(self.texture).fork("texture").at(0));
        for object in &self.objects {
            object.paint(&mut canvas);
        }
        canvas.picture()
    }

    /// What the picture shows.
    pub fn truth(&self) -> Truth {
        let objects = self.objects.iter().map(Seen::of).collect();
        Truth { background: self.background, objects, relation: self.relation }
    }

    /// All that captions can tell of it.
    pub fn description(&self) -> Description {
        let wanted = |object: &Object| {
            let Seen { class, size, colour, second, pattern, individual, .. } = Seen::of(object);
            Wanted { class, size: Some(size), colour, pattern, second, individual }
        };
        Description {
            objects: self.objects.iter().map(wanted).collect(),
            relation: self.relation,
            background: Some(self.background),
        }
    }

    /// What one caption tells of it: some attributes are left out.
    pub fn told(&self, rng: &mut ChaCha8Rng) -> Description {
        let mut told = self.description();
        for object in &mut told.objects {
            object.size = object.size.filter(|size| *size != Size::Medium && rng.random_bool(0.8));
            object.colour = object.colour.filter(|_| rng.random_bool(0.9));
            object.pattern = object.pattern.filter(|pattern| match pattern {
                Pattern::Plain => rng.random_bool(0.15),
                _ => rng.random_bool(0.9),
            });
            let patterned = object.pattern.is_some_and(|pattern| pattern != Pattern::Plain);
            object.second = object.second.filter(|_| patterned && rng.random_bool(0.4));
        }
        told.background = told.background.filter(|_| rng.random_bool(0.85));
        told.relation = told.relation.filter(|_| rng.random_bool(0.9));
        told
    }

    /// A caption that tells some of it, with individuals called by their class.
    pub fn caption(&self, rng: &mut ChaCha8Rng) -> String {
        self.caption_with(rng, &|individual| individual.class.word().to_string())
    }

    /// The same with individuals called as `name` says, e.g. `<new1>` or `<new1> mug`.
    pub fn caption_with(
        &self,
        rng: &mut ChaCha8Rng,
        name: &dyn Fn(&Individual) -> String,
    ) -> String {
        self.told(rng).caption_with(rng, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::pose::Bounds;

    fn scenes(count: u64, options: SceneOptions) -> impl Iterator<Item = Scene> {
        (0..count).map(move |index| Scene::random(&Seed::new(7), index, &options))
    }

    fn difference(a: &Picture, b: &[u8]) -> f32 {
        let sum: u32 = a.rgb.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / a.rgb.len() as f32
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
    fn scenes_survive_being_written_down() {
        for scene in scenes(50, SceneOptions::default()) {
            let text = serde_json::to_string(&scene).unwrap();
            assert_eq!(serde_json::from_str::<Scene>(&text).unwrap(), scene);
        }
    }

    #[test]
    fn training_never_shows_what_is_held_out() {
        for scene in scenes(20_000, SceneOptions::default()) {
            let Truth { objects, relation, .. } = scene.truth();
            for seen in &objects {
                let colour = seen.colour.unwrap();
                assert_eq!(Split::of_pair(seen.class, colour), Split::Train, "{seen:?}");
                assert!(Bounds::PICTURE.contains(&seen.bounds), "{seen:?}");
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
        let options = SceneOptions { split: Split::HeldOut, pairs: 0.5 };
        for scene in scenes(200, options) {
            assert_eq!(Split::of(&scene.description()), Split::HeldOut);
        }
    }

    #[test]
    fn what_a_caption_tells_is_true() {
        let mut rng = Seed::new(3).at(0);
        for scene in scenes(500, SceneOptions::default()) {
            assert!(scene.told(&mut rng).is_met_by(&scene.truth()));
        }
    }

    #[test]
    fn pictures_of_all_sizes_show_the_same() {
        for scene in scenes(40, SceneOptions::default()) {
            let (small, large) = (scene.render(64), scene.render(128).rgb);
            let pixel = |x: usize, y: usize, c: usize| u32::from(large[(y * 128 + x) * 3 + c]);
            let halved = |i: usize| {
                let (x, y, c) = (i / 3 % 64 * 2, i / 192 * 2, i % 3);
                let sum = pixel(x, y, c) + pixel(x + 1, y, c);
                ((sum + pixel(x, y + 1, c) + pixel(x + 1, y + 1, c)) / 4) as u8
            };
            let halved: Vec<u8> = (0..64 * 64 * 3).map(halved).collect();
            let difference = difference(&small, &halved);
            assert!(difference < 4.0, "{difference}");
        }
    }
}
