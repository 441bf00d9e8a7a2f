//! The scenes and prompts of a part of a minibatch of the denoiser.

use std::ops::Range;

use rand::RngExt;
use seqlora_core::diffusion::Area;
use seqlora_core::rng::Seed;

use super::captions::{caption, half_captions, training_scene};
use super::config::PretrainConfig;
use crate::world::{Relation, Scene};

/// How many scenes are tried to find one of two objects.
const TRIES: u64 = 64;

/// A large odd number, by which the samples of a minibatch look for scenes far from each other.
const STRIDE: u64 = 0x9E37_79B1;

/// Scenes and what is said of them.
#[derive(Debug)]
pub struct Batch {
    /// Scenes with their numbers.
    pub scenes: Vec<(u64, Scene)>,
    /// The prompts, as many as scenes.
    pub prompts: Prompts,
}

/// What a denoiser is told of scenes.
#[derive(Debug)]
pub enum Prompts {
    /// A prompt for each.
    Whole(Vec<String>),
    /// The two halves of the images, and for each of them a prompt for each scene.
    Halves([(Area, Vec<String>); 2]),
}

impl Batch {
    /// The scenes and prompts of samples, as a function of their numbers.
    pub fn new(config: &PretrainConfig, seed: &Seed, samples: Range<u64>) -> Self {
        let mut rng = seed.fork("halves").at(samples.start);
        if rng.random_bool(config.halves_probability) {
            let axis = Axis::ALL[rng.random_range(0..Axis::ALL.len())];
            if let Some(batch) = Self::halves(config, seed, samples.clone(), axis) {
                return batch;
            }
        }
        let captioned = samples.map(|sample| {
            let number = sample % config.scenes;
            let scene = training_scene(config, seed, number);
            let caption = caption(config, seed, &scene, sample);
            ((number, scene), caption)
        });
        let (scenes, captions) = captioned.unzip();
        Self { scenes, prompts: Prompts::Whole(captions) }
    }

    /// A batch of scenes whose objects lie along an axis; `None` if there are hardly any.
    fn halves(
        config: &PretrainConfig,
        seed: &Seed,
        samples: Range<u64>,
        axis: Axis,
    ) -> Option<Self> {
        let scene = |sample: u64| {
            let first = sample.wrapping_mul(STRIDE);
            let numbers = (0..TRIES).map(|at| first.wrapping_add(at) % config.scenes);
            let mut scenes = numbers.map(|number| (number, training_scene(config, seed, number)));
            scenes.find(|(_, scene)| scene.relation.map(Axis::of) == Some(axis))
        };
        let scenes: Vec<(u64, Scene)> = samples.clone().map(scene).collect::<Option<_>>()?;
        let captions = scenes
            .iter()
            .zip(samples)
            .map(|((_, s), sample)| half_captions(config, seed, s, sample));
        let (first, second) = captions.map(|[first, second]| (first, second)).unzip();
        let [one, other] = axis.halves();
        Some(Self { scenes, prompts: Prompts::Halves([(one, first), (other, second)]) })
    }
}

/// The axis along which two objects lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Horizontal,
    Vertical,
}

impl Axis {
    const ALL: [Self; 2] = [Self::Horizontal, Self::Vertical];

    fn of(relation: Relation) -> Self {
        match relation {
            Relation::LeftOf | Relation::RightOf => Self::Horizontal,
            Relation::Above | Relation::Below => Self::Vertical,
        }
    }

    /// The left and right, or upper and lower, half of an image of any size.
    fn halves(self) -> [Area; 2] {
        let corners = match self {
            Self::Horizontal => [[0, 0, 1, 2], [1, 0, 2, 2]],
            Self::Vertical => [[0, 0, 2, 1], [0, 1, 2, 2]],
        };
        corners.map(|corners| Area::new(corners, [2, 2]).expect("a half lies in its image"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Description;

    #[test]
    fn each_half_is_told_of_its_own_object() {
        let config = PretrainConfig {
            halves_probability: 1.0,
            caption_dropout: 0.0,
            ..PretrainConfig::default()
        };
        for start in 0..8 {
            let batch = Batch::new(&config, &Seed::new(start), 0..6);
            let Prompts::Halves([(_, first), (_, second)]) = batch.prompts else {
                panic!("scenes of two objects are found");
            };
            for ((_, scene), captions) in batch.scenes.iter().zip(first.iter().zip(&second)) {
                let truth = scene.truth();
                let [a, b] = [0, 1].map(|at| truth.objects[at].bounds.centre());
                let axis = Axis::of(scene.relation.unwrap());
                let a_is_first = match axis {
                    Axis::Horizontal => a.0 < b.0,
                    Axis::Vertical => a.1 < b.1,
                };
                let order = if a_is_first { [0, 1] } else { [1, 0] };
                for (caption, object) in [captions.0, captions.1].into_iter().zip(order) {
                    let stated = Description::parse(caption).unwrap_or_else(|| panic!("{caption}"));
                    assert_eq!(stated.objects.len(), 1);
                    assert!(stated.objects[0].matches(&truth.objects[object]), "{caption}");
                }
            }
        }
    }

    #[test]
    fn without_pairs_every_prompt_is_for_the_whole_image() {
        let config = PretrainConfig {
            halves_probability: 1.0,
            pair_probability: 0.0,
            ..PretrainConfig::default()
        };
        let batch = Batch::new(&config, &Seed::new(0), 10..14);
        assert!(matches!(batch.prompts, Prompts::Whole(captions) if captions.len() == 4));
        assert_eq!(batch.scenes[3].0, 13);
    }
}
