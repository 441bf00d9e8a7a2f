//! The concepts of the demo, individuals of the toy world, and the prompts in which they are sampled.

use std::fs;
use std::path::Path;

use burn_seqlora::data::{ConceptKind, ConceptSource, ImageSource};
use burn_seqlora::error::Error;
use burn_seqlora::files::write_atomic;
use burn_seqlora::toy_world::world::{self, Class, Individual, Scene, Seed};
use image::RgbImage;

use super::settings::Settings;
use crate::failure::Failure;
use crate::images::{read_png, write_png};

/// Reference images of each concept, on which it is alone.
const REFERENCES: usize = 4;

/// Further training images, on which it is beside an ordinary object. Without them a concept is learnt as
/// the only object of an image, and prompts with two give one.
const IN_COMPANY: usize = 4;

/// The prompts of each concept, in turns.
const PROMPTS: [&str; 4] =
    ["a photo of a {}", "a {} on grass", "a {} on a beach", "a photo of a {} at night"];

/// A concept with its references.
#[derive(Debug, Clone)]
pub struct ToyConcept {
    /// What training gets.
    pub source: ConceptSource,
    /// Its reference images, on which it is alone.
    pub references: Vec<RgbImage>,
    /// The caption of each of them.
    pub captions: Vec<String>,
    /// The number of the individual in the toy world.
    pub individual: usize,
    /// What it looks like, in words that the base model knows.
    pub in_words: String,
}

impl ToyConcept {
    /// The concepts of a demo, with their images in folders below `photos`.
    ///
    /// # Errors
    /// If there are not so many, or an image cannot be written.
    pub fn all(settings: &Settings, side: usize, photos: &Path) -> Result<Vec<Self>, Failure> {
        let (seed, count) = (Seed::new(settings.train.seed), settings.concepts);
        let class = settings
            .class
            .as_ref()
            .and_then(|word| Class::ALL.into_iter().find(|class| class.word() == word));
        let individuals = match class {
            Some(class) => Individual::of_class(&seed, class, count),
            None => Individual::sequence(&seed, count),
        };
        if individuals.len() < count {
            let text = format!("--concepts {count}: there are only {}", individuals.len());
            return Err(Failure::Usage(text));
        }
        individuals.iter().map(|individual| Self::draw(individual, side, photos)).collect()
    }

    /// Draws an individual in several poses and places, each with a caption that describes them.
    fn draw(individual: &Individual, side: usize, photos: &Path) -> Result<Self, Failure> {
        let id = individual.id();
        let folder = photos.join(&id);
        let masks = folder.join("masks");
        fs::create_dir_all(&masks).map_err(Error::io("cannot create", &masks))?;
        let seed = Seed::new(0);
        let (mut images, mut captions) = (Vec::new(), Vec::new());
        let alone = individual.references(&seed, REFERENCES);
        let scenes = [alone, individual.in_company(&seed, IN_COMPANY)].concat();
        for (number, scene) in scenes.iter().enumerate() {
            let mut rng = seed.fork(&id).fork("captions").at(number as u64);
            let caption = scene.description().caption_with(&mut rng, &|_| format!("<{id}>"));
            let name = format!("{number}.png");
            let (path, mask) = (folder.join(&name), masks.join(&name));
            for (path, draw) in [(&path, Scene::render as Draw), (&mask, Scene::mask)] {
                if !path.exists() {
                    write_png(path, &to_rgb_image(draw(scene, side)), &caption)?;
                }
            }
            // `learn` on the folder reads captions from text files.
            let text = path.with_extension("txt");
            write_atomic(&text, caption.as_bytes())?;
            images.push(ImageSource { path, caption: Some(caption.clone()), mask: Some(mask) });
            captions.push(caption);
        }
        let references = images.iter().take(REFERENCES).map(|image| read_png(&image.path));
        let references = references.collect::<Result<_, _>>()?;
        captions.truncate(REFERENCES);
        let class_word = individual.class.word().to_string();
        let source = ConceptSource {
            id,
            kind: ConceptKind::of_class(&class_word),
            class_word,
            images,
            templates: Vec::new(),
            steps: None,
            repeats: 1,
            prompts: None,
        };
        let (individual, in_words) = (individual.index, individual.in_words());
        Ok(Self { source, references, captions, individual, in_words })
    }

    /// Its name in prompts.
    pub fn name(&self) -> String {
        format!("<{}>", self.source.id)
    }
}

/// What is drawn of a scene at a size.
type Draw = fn(&Scene, usize) -> world::Image;

fn to_rgb_image(image: world::Image) -> RgbImage {
    let side = image.size as u32;
    RgbImage::from_raw(side, side, image.rgb).expect("three bytes per pixel")
}

/// `count` prompts of something called `name`.
pub fn prompts(name: &str, count: usize) -> Vec<String> {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let prompts = PROMPTS.iter().cycle().take(count);
    prompts.map(|p| p.replace("a {}", &format!("{article} {name}"))).collect()
}
