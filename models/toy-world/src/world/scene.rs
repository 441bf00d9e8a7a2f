//! Scenes: data from which images, captions and ground truth are made.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::canvas::{Canvas, Image};
use crate::world::colour::Rgb;
use crate::world::description::{Description, ObjectDescription};
use crate::world::individual::Individual;
use crate::world::marking::Marking;
use crate::world::object::Object;
use crate::world::relation::Relation;
use crate::world::truth::{ObjectTruth, Truth};
use seqlora_core::rng::Seed;

const BLACK: Rgb = Rgb(0, 0, 0);
const WHITE: Rgb = Rgb(255, 255, 255);

/// One or two objects before a background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The background.
    pub background: Background,
    /// Seed of the background's details.
    pub texture: u64,
    /// One or two objects, the later ones in front.
    pub objects: Vec<Object>,
    /// Where the first of two objects is, relative to the second.
    pub relation: Option<Relation>,
}

impl Scene {
    /// The image, `size` pixels wide and high. Sizes are clamped to 1 to 2048.
    pub fn render(&self, size: usize) -> Image {
        Self::painted(size, |canvas| {
            self.background.paint(canvas, &mut Seed::new(self.texture).fork("texture").at(0));
            self.objects.iter().for_each(|object| object.paint(canvas));
        })
    }

    /// The mask of its individuals, white on black, `size` pixels wide and high. Sizes are clamped to 1 to
    /// 2048.
    pub fn mask(&self, size: usize) -> Image {
        Self::painted(size, |canvas| {
            canvas.band((0.0, 1.0), (BLACK, BLACK));
            for object in &self.objects {
                let colour = if object.individual.is_some() { WHITE } else { BLACK };
                object.paint_silhouette(canvas, colour);
            }
        })
    }

    fn painted(size: usize, paint: impl FnOnce(&mut Canvas)) -> Image {
        let Some(mut canvas) = Canvas::new(size) else {
            return Image { size: 0, rgb: Vec::new() };
        };
        paint(&mut canvas);
        canvas.image()
    }

    /// What the image shows.
    pub fn truth(&self) -> Truth {
        let objects = self.objects.iter().map(ObjectTruth::of).collect();
        Truth { background: self.background, objects, relation: self.relation }
    }

    /// The description that states everything, the looks of individuals included.
    pub fn description(&self) -> Description {
        let description = |object: &Object| ObjectDescription {
            individual: object.individual,
            ..ObjectDescription::with_look(object.class, &object.look)
        };
        Description {
            objects: self.objects.iter().map(description).collect(),
            relation: self.relation,
            background: Some(self.background),
        }
    }

    /// The description as in a caption: in three of four it names every part; in the others some are left
    /// out at random.
    pub fn partial_description(&self, rng: &mut ChaCha8Rng) -> Description {
        let mut stated = self.description();
        for object in &mut stated.objects {
            object.variant = object.variant.filter(|_| rng.random_bool(0.75));
            if object.marking == Some(Marking::Plain) {
                object.marking = object.marking.filter(|_| rng.random_bool(0.3));
            }
            if rng.random_bool(0.25) {
                object.main = object.main.filter(|_| rng.random_bool(0.8));
                object.second = object.second.filter(|_| rng.random_bool(0.5));
                object.third = object.third.filter(|_| rng.random_bool(0.5));
                object.marking = object.marking.filter(|_| rng.random_bool(0.7));
                object.marked = object.marked.filter(|_| object.marking.is_some());
            }
        }
        stated.background = stated.background.filter(|_| rng.random_bool(0.85));
        stated.relation = stated.relation.filter(|_| rng.random_bool(0.9));
        stated
    }

    /// A caption of a partial description, in which individuals are named by their class.
    pub fn caption(&self, rng: &mut ChaCha8Rng) -> String {
        self.caption_with(rng, &|individual| individual.class.word().to_string())
    }

    /// A caption of a partial description, in which `name` gives the name of an individual, e.g.
    /// `<new1>` or `<new1> mug`.
    pub fn caption_with(
        &self,
        rng: &mut ChaCha8Rng,
        name: &dyn Fn(&Individual) -> String,
    ) -> String {
        self.partial_description(rng).caption_with(rng, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::class::Class;

    /// Scenes of two objects of different classes.
    fn scenes(count: usize) -> impl Iterator<Item = Scene> {
        (0..count).map(|index| {
            let class = |at: usize| ObjectDescription::any(Class::ALL[at % Class::ALL.len()]);
            let objects = vec![class(index), class(index + 5)];
            Description { objects, ..Description::default() }.scene(&Seed::new(7), index as u64)
        })
    }

    #[test]
    fn scenes_are_the_same_after_a_round_trip_through_json() {
        for scene in scenes(50) {
            let text = serde_json::to_string(&scene).unwrap();
            assert_eq!(serde_json::from_str::<Scene>(&text).unwrap(), scene);
        }
    }

    #[test]
    fn partial_descriptions_are_true() {
        let mut rng = Seed::new(3).at(0);
        for scene in scenes(500) {
            assert!(scene.partial_description(&mut rng).matches(&scene.truth()));
        }
    }

    #[test]
    fn a_mask_is_white_where_the_individual_is() {
        for individual in (0..Individual::COUNT).map(Individual::of) {
            let scene = individual.in_company(&Seed::new(0), 1).remove(0);
            let mut without = scene.clone();
            without.objects.retain(|object| object.individual.is_none());
            let (image, without, mask) = (scene.render(64), without.render(64), scene.mask(64));
            let pixels = image.rgb.chunks(3).zip(without.rgb.chunks(3)).zip(mask.rgb.chunks(3));
            let (mut inside, mut changed) = (0, 0);
            for ((pixel, without), mask) in pixels {
                assert!(pixel == without || mask[0] > 0, "an individual outside of its mask");
                inside += usize::from(mask[0] == 255);
                changed += usize::from(mask[0] == 255 && pixel != without);
            }
            assert!(inside > 150 && changed * 10 > inside * 9, "{changed} of {inside}");
        }
    }

    #[test]
    fn images_of_all_sizes_show_the_same() {
        for scene in scenes(40) {
            let (small, large) = (scene.render(64).rgb, scene.render(128).rgb);
            let pixel = |x: usize, y: usize, c: usize| u32::from(large[(y * 128 + x) * 3 + c]);
            let halved = |i: usize| {
                let (x, y, c) = (i / 3 % 64 * 2, i / 192 * 2, i % 3);
                let sum = pixel(x, y, c) + pixel(x + 1, y, c);
                ((sum + pixel(x, y + 1, c) + pixel(x + 1, y + 1, c)) / 4) as u8
            };
            let difference: u32 =
                (0..small.len()).map(|i| u32::from(small[i].abs_diff(halved(i)))).sum();
            let mean = difference as f32 / small.len() as f32;
            assert!(mean < 4.0, "{mean}");
        }
    }
}
