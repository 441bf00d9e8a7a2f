//! Individuals: objects whose look no caption can tell.
//!
//! Each has colours between the named ones, a pattern without a name, an emblem, and eyes that no
//! ordinary object has. A model that has seen the world knows none of them; they are what concepts
//! are learnt from.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Rgb;
use crate::world::description::{Description, Wanted};
use crate::world::face::Face;
use crate::world::look::Look;
use crate::world::object::{Identity, Object};
use crate::world::pattern::{Decoration, Motif};
use crate::world::pose::{Pose, Size};
use crate::world::scene::Scene;
use seqlora_core::rng::Seed;

/// An object with a look of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Individual {
    /// Which one it is.
    pub index: usize,
    /// Its class.
    pub class: Class,
    /// Its look.
    pub look: Look,
}

/// Body, pattern and emblem plate.
type Palette = (Rgb, Rgb, Rgb);

const PALETTES: [Palette; 16] = [
    (Rgb(0, 150, 146), Rgb(250, 226, 178), Rgb(238, 92, 78)), // teal, cream, coral
    (Rgb(240, 108, 92), Rgb(34, 52, 110), Rgb(252, 238, 200)), // coral, navy, cream
    (Rgb(196, 168, 232), Rgb(60, 96, 74), Rgb(255, 226, 92)), // lilac, moss, lemon
    (Rgb(128, 22, 58), Rgb(250, 178, 148), Rgb(166, 226, 206)), // burgundy, peach, mint
    (Rgb(158, 226, 200), Rgb(186, 44, 116), Rgb(38, 44, 92)), // mint, magenta, navy
    (Rgb(204, 158, 30), Rgb(66, 32, 84), Rgb(240, 240, 226)), // mustard, aubergine, ivory
    (Rgb(28, 42, 100), Rgb(126, 214, 226), Rgb(255, 178, 56)), // navy, aqua, amber
    (Rgb(252, 204, 168), Rgb(0, 118, 124), Rgb(126, 24, 60)), // peach, petrol, burgundy
    (Rgb(120, 130, 46), Rgb(248, 202, 214), Rgb(40, 36, 60)), // olive, rose, ink
    (Rgb(126, 208, 236), Rgb(226, 82, 44), Rgb(252, 246, 214)), // aqua, rust, ivory
    (Rgb(222, 30, 128), Rgb(190, 240, 90), Rgb(44, 30, 80)),  // magenta, lime, indigo
    (Rgb(190, 232, 78), Rgb(74, 52, 160), Rgb(250, 122, 84)), // lime, indigo, coral
    (Rgb(176, 92, 66), Rgb(178, 228, 232), Rgb(248, 220, 120)), // terracotta, ice, straw
    (Rgb(82, 64, 158), Rgb(255, 200, 64), Rgb(150, 228, 204)), // indigo, amber, mint
    (Rgb(236, 226, 190), Rgb(146, 62, 40), Rgb(0, 138, 150)), // ivory, sienna, petrol
    (Rgb(84, 112, 124), Rgb(250, 240, 130), Rgb(255, 120, 160)), // slate, lemon, rose
];

impl Individual {
    /// Individuals that differ plainly from each other: eight of each class.
    pub const COUNT: usize = 8 * Class::ALL.len();

    /// The individual of an index. Neighbours are of different classes; from
    /// [`COUNT`](Self::COUNT) on, some differ from earlier ones in details alone.
    pub fn of(index: usize) -> Self {
        let class = index % Class::ALL.len();
        let number = index / Class::ALL.len();
        // Odd factors walk through a table of sixteen, and three through one of ten, without
        // meeting an entry twice: no two of a class share a palette, a motif or an emblem.
        let (body, second, accent) = PALETTES[(7 * class + 3 * number) % PALETTES.len()];
        let motif = Motif::UNNAMED[(class + 3 * number) % Motif::UNNAMED.len()];
        let mut rng = Seed::new(index as u64).fork("individual").at(0);
        let look = Look {
            variant: class + number,
            body,
            second,
            accent,
            decoration: Some(Decoration {
                motif,
                pitch: rng.random_range(38.0..58.0),
                angle: rng.random_range(-40.0..40.0),
            }),
            face: Face::of(class + number),
            emblem: Some(3 * class + 5 * number),
        };
        Self { index, class: Class::ALL[class], look }
    }

    /// Its name in file names and reports, e.g. `mug-07`, counted from 0 within its class.
    pub fn id(&self) -> String {
        format!("{}-{:02}", self.class.word(), self.index / Class::ALL.len())
    }

    /// The individual in a pose.
    pub fn object(&self, pose: Pose, size: Size) -> Object {
        let identity = Identity::Individual(self.index);
        Object { class: self.class, identity, look: self.look, size, pose }
    }

    /// Scenes that show it alone, each in another pose and, up to ten, on another background.
    ///
    /// What a caption needs is in the scene: its background's phrases, and the object's size and
    /// pose.
    pub fn references(&self, seed: &Seed, count: usize) -> Vec<Scene> {
        let mut rng = seed.fork(&self.id()).at(0);
        let mut backgrounds = Background::ALL;
        backgrounds.shuffle(&mut rng);
        let sizes = [Size::Large, Size::Medium];
        let scene = |(number, background): (usize, Background)| {
            let wanted = Wanted { size: Some(sizes[number % 2]), ..Wanted::individual(*self) };
            let description = Description {
                objects: vec![wanted],
                background: Some(background),
                ..Description::default()
            };
            description.draw(&mut rng)
        };
        backgrounds.into_iter().cycle().take(count).enumerate().map(scene).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::canvas::Picture;
    use std::collections::HashSet;

    const POSE: Pose = Pose { x: 0.5, y: 0.5, scale: 0.4, angle: 0.0, mirrored: false };

    fn portrait(index: usize) -> Picture {
        let objects = vec![Individual::of(index).object(POSE, Size::Large)];
        Scene { background: Background::White, texture: 0, objects, relation: None }.render(48)
    }

    #[test]
    fn all_individuals_look_different_in_the_same_pose() {
        let portraits: Vec<Picture> = (0..Individual::COUNT).map(portrait).collect();
        for (index, one) in portraits.iter().enumerate() {
            for (other, another) in portraits[..index].iter().enumerate() {
                let pairs = one.rgb.iter().zip(&another.rgb);
                let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                let distance = sum as f32 / one.rgb.len() as f32;
                assert!(distance > 8.0, "{index} {other} {distance}");
            }
        }
    }

    #[test]
    fn ids_are_unique_and_tell_the_class() {
        let ids: HashSet<String> = (0..Individual::COUNT).map(|i| Individual::of(i).id()).collect();
        assert_eq!(ids.len(), Individual::COUNT);
        assert!(ids.contains("mug-07") && ids.contains("ball-00"));
    }

    #[test]
    fn references_show_one_individual_in_many_ways() {
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
