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

/// Training images that show the concept alone. They are its references, too.
const REFERENCES: usize = 4;

/// Training images that show the concept beside an ordinary object. Without them it is learnt as the only
/// object of an image, and a prompt with two concepts gives one object.
const IN_COMPANY: usize = 4;

/// The prompts of each concept, in turns.
const PROMPTS: [&str; 4] =
    ["a photo of a {}", "a {} on grass", "a {} on a beach", "a photo of a {} at night"];

/// A concept with its references.
#[derive(Debug, Clone)]
pub struct ToyConcept {
    /// What training gets.
    pub source: ConceptSource,
    /// Its reference images, which show it alone.
    pub references: Vec<RgbImage>,
    /// The caption of each of them.
    pub captions: Vec<String>,
    /// The number of the individual in the toy world.
    pub individual: usize,
    /// What it looks like, in words that the base model knows.
    pub in_words: String,
}

impl ToyConcept {
    /// The concepts of a demo, with their images in `photos` and `in-company` below `folder`; `in_company` says
    /// whether there are any of the latter.
    ///
    /// # Errors
    /// If there are not so many, or an image cannot be written.
    pub fn all(
        settings: &Settings,
        side: usize,
        folder: &Path,
        in_company: bool,
    ) -> Result<Vec<Self>, Failure> {
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
        let draw = |individual: &Individual| Self::draw(*individual, side, folder, in_company);
        individuals.iter().map(draw).collect()
    }

    /// Draws an individual in several poses and places, each with a caption that describes them.
    fn draw(
        individual: Individual,
        side: usize,
        folder: &Path,
        in_company: bool,
    ) -> Result<Self, Failure> {
        let (id, seed) = (individual.id(), Seed::new(0));
        let alone = individual.references(&seed, REFERENCES);
        let company = individual.in_company(&seed, if in_company { IN_COMPANY } else { 0 });
        // `evaluate` takes all images in `photos` as references, which show the concept alone.
        let folders = [("photos", alone), ("in-company", company)];
        let scenes = folders.iter().flat_map(|(name, scenes)| {
            let folder = folder.join(name).join(&id);
            scenes.iter().map(move |scene| (folder.clone(), scene))
        });
        let mut images = Vec::new();
        for (number, (folder, scene)) in scenes.enumerate() {
            let mut rng = seed.fork(&id).fork("captions").at(number as u64);
            let caption = scene.description().caption_with(&mut rng, &|_| format!("<{id}>"));
            images.push(draw_image(&folder, number, scene, side, caption)?);
        }
        let references = &images[..REFERENCES];
        let captions = references.iter().filter_map(|image| image.caption.clone()).collect();
        let references =
            references.iter().map(|image| read_png(&image.path)).collect::<Result<_, _>>()?;
        let class_word = individual.class.word().to_string();
        let source = ConceptSource {
            id,
            kind: ConceptKind::of_class(&class_word),
            class_word,
            images,
            class_images: None,
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

/// Draws an image of a scene with its mask and caption, unless they are there.
fn draw_image(
    folder: &Path,
    number: usize,
    scene: &Scene,
    side: usize,
    caption: String,
) -> Result<ImageSource, Failure> {
    let masks = folder.join("masks");
    fs::create_dir_all(&masks).map_err(Error::io("cannot create", &masks))?;
    let name = format!("{number}.png");
    let (path, mask) = (folder.join(&name), masks.join(&name));
    for (path, draw) in [(&path, Scene::render as Draw), (&mask, Scene::mask)] {
        if !path.exists() {
            write_png(path, &to_rgb_image(draw(scene, side)), &caption)?;
        }
    }
    // `learn` on the folder reads captions from text files.
    write_atomic(&path.with_extension("txt"), caption.as_bytes())?;
    Ok(ImageSource { path, caption: Some(caption), mask: Some(mask) })
}

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
