//! Individuals: objects whose look captions have no words for.
//!
//! Each has colours between the named ones, a pattern without a name, an emblem, and eyes that no
//! ordinary object has. A base model that was pretrained on random scenes has seen none of them, so
//! they serve as the concepts that are learnt.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::world::class::Class;
use crate::world::colour::Rgb;
use crate::world::face::Face;
use crate::world::look::Look;
use crate::world::object::{Identity, Object};
use crate::world::pattern::{Decoration, Motif};
use crate::world::pose::{Pose, Size};
use seqlora_core::rng::Seed;

/// An object with a unique look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Individual {
    /// Its number, from 0.
    pub index: usize,
    /// Its class.
    pub class: Class,
    /// Its look.
    pub look: Look,
}

/// The colours of the body, the pattern and the emblem's plate.
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
    /// The number of individuals that differ clearly from each other: eight of each class.
    pub const COUNT: usize = 8 * Class::ALL.len();

    /// The individual of an index. Consecutive indices have different classes. From
    /// [`COUNT`](Self::COUNT) on, some individuals differ from earlier ones only in details.
    pub fn of(index: usize) -> Self {
        let class = index % Class::ALL.len();
        let number = index / Class::ALL.len();
        // Steps of an odd number visit all entries of a table of 16 before one repeats, and steps
        // of 3 those of a table of 10. So no two of the eight individuals of a class share a
        // palette, a motif or an emblem.
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

    /// Its name in file names and reports, e.g. `mug-07`. Each class counts from 0.
    pub fn id(&self) -> String {
        format!("{}-{:02}", self.class.word(), self.index / Class::ALL.len())
    }

    /// The individual in a pose.
    pub fn object(&self, pose: Pose, size: Size) -> Object {
        let identity = Identity::Individual(self.index);
        Object { class: self.class, identity, look: self.look, size, pose }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::background::Background;
    use crate::world::canvas::Canvas;
    use std::collections::HashSet;

    const POSE: Pose = Pose { x: 0.5, y: 0.5, scale: 0.4, angle: 0.0, mirrored: false };

    /// Objects on a white background, `size` pixels wide and high.
    fn rendered(objects: &[Object], size: usize) -> Vec<u8> {
        let mut canvas = Canvas::new(size).unwrap();
        Background::White.paint(&mut canvas, &mut Seed::new(0).at(0));
        objects.iter().for_each(|object| object.paint(&mut canvas));
        canvas.image().rgb
    }

    #[test]
    fn all_individuals_look_different_in_the_same_pose() {
        let portrait = |index| rendered(&[Individual::of(index).object(POSE, Size::Large)], 48);
        let portraits: Vec<_> = (0..Individual::COUNT).map(portrait).collect();
        for (index, one) in portraits.iter().enumerate() {
            for (other, another) in portraits[..index].iter().enumerate() {
                let sum: u32 =
                    one.iter().zip(another).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                let distance = sum as f32 / one.len() as f32;
                assert!(distance > 8.0, "{index} {other} {distance}");
            }
        }
    }

    #[test]
    fn ids_are_unique_and_contain_the_class() {
        let ids: HashSet<String> = (0..Individual::COUNT).map(|i| Individual::of(i).id()).collect();
        assert_eq!(ids.len(), Individual::COUNT);
        assert!(ids.contains("mug-07") && ids.contains("ball-00"));
    }

    #[test]
    fn only_the_shadow_is_painted_outside_the_bounds() {
        let empty = rendered(&[], 64);
        for index in 0..Individual::COUNT {
            let pose = Pose { x: 0.4, y: 0.5, scale: 0.25, angle: 15.0, mirrored: index % 2 == 0 };
            let object = Individual::of(index).object(pose, Size::Medium);
            let bounds = object.bounds().grown(0.04);
            for (pixel, (a, b)) in rendered(&[object], 64).iter().zip(&empty).enumerate() {
                let (x, y) = ((pixel / 3 % 64) as f32 / 64.0, (pixel / 192) as f32 / 64.0);
                let inside = (bounds.left..bounds.right).contains(&x)
                    && (bounds.top..bounds.bottom).contains(&y);
                assert!(a == b || inside, "{index} at {x} {y}");
            }
        }
    }

    #[test]
    fn extreme_poses_and_looks_can_be_painted() {
        let mut object = Individual::of(3).object(POSE, Size::Large);
        for scale in [0.0, -1.0, 1e9, f32::NAN, f32::INFINITY] {
            object.pose.scale = scale;
            assert_eq!(rendered(&[object], 64).len(), 64 * 64 * 3);
        }
        object.pose = POSE;
        object.look.variant = usize::MAX;
        object.look.emblem = Some(usize::MAX);
        for pitch in [0.0, -5.0, 1e9, f32::NAN] {
            object.look.decoration = object.look.decoration.map(|d| Decoration { pitch, ..d });
            assert_eq!(rendered(&[object], 64).len(), 64 * 64 * 3);
        }
    }
}
