//! The concepts of the data: their references, prompts and pairs.

use std::path::Path;

use burn_seqlora::data::{
    ConceptSource, DiscoverOptions, Manifest, evaluation_prompts, load_rgb, read_pairs,
};
use burn_seqlora::eval::protocol::{GivenConcept, PairConfig};
use burn_seqlora::scorers::image_id;
use image::RgbImage;
use rayon::prelude::*;

use super::memory;
use crate::args::Evaluate;
use crate::failure::Failure;

/// What is evaluated.
pub struct Data {
    concepts: Vec<ConceptSource>,
    prompts: Vec<Option<Vec<String>>>,
    /// The references of each concept. They are decoded once; 500 photos of a megapixel take 1.5 GB.
    pub references: Vec<Vec<RgbImage>>,
    /// The bytes that all of them take.
    pub decoded: usize,
    /// The identity of each.
    ids: Vec<Vec<String>>,
    /// The pairs that were asked for, besides those of the settings.
    pub pairs: Vec<PairConfig>,
}

impl Data {
    /// Reads the data. Prompts that were typed win over those of the data, which then need not be there.
    ///
    /// # Errors
    /// If the data cannot be read, or a concept that is asked for is not in them.
    pub fn read(args: &Evaluate) -> Result<Self, Failure> {
        let images_root = args.images_root.clone();
        let options = DiscoverOptions { images_root, ..DiscoverOptions::default() };
        let manifest = Manifest::discover(&args.data, &options)?;
        let prompts = match args.prompts.is_some() {
            true => vec![None; manifest.concepts.len()],
            false => evaluation_prompts(&args.data, &manifest)?,
        };
        let unknown = |id: &&String| !manifest.concepts.iter().any(|concept| concept.id == **id);
        if let Some(id) = args.concept.iter().find(unknown) {
            let data = args.data.display();
            return Err(Failure::Usage(format!("--concept {id}: {data} holds no such concept")));
        }
        let chosen = |(concept, _): &(ConceptSource, _)| {
            args.concept.is_empty() || args.concept.contains(&concept.id)
        };
        let chosen = manifest.concepts.into_iter().zip(prompts).filter(chosen);
        let (concepts, prompts): (Vec<ConceptSource>, Vec<_>) = chosen.unzip();
        let pairs = match &args.pairs {
            Some(file) => pairs(file, &concepts)?,
            None => Vec::new(),
        };
        let files = concepts.iter().flat_map(|concept| &concept.images);
        let decoded = memory::decoded(files.map(|image| image.path.as_path()));
        if !args.plan && !args.force {
            memory::check_references(decoded)?;
        }
        let decode = |concept: &ConceptSource| {
            let images = concept.images.par_iter().map(|image| load_rgb(&image.path));
            images.collect::<Result<Vec<_>, _>>()
        };
        // A forecast needs no pixels.
        let references: Vec<Vec<RgbImage>> = match args.plan {
            true => vec![Vec::new(); concepts.len()],
            false => concepts.iter().map(decode).collect::<Result<_, _>>()?,
        };
        let id = |images: &Vec<RgbImage>| images.par_iter().map(image_id).collect();
        let ids = references.iter().map(id).collect();
        Ok(Self { concepts, prompts, references, decoded, ids, pairs })
    }

    /// The concepts as a protocol takes them.
    pub fn given(&self) -> Vec<GivenConcept> {
        let given = |(number, concept): (usize, &ConceptSource)| GivenConcept {
            id: concept.id.clone(),
            class_word: concept.class_word.clone(),
            prompts: self.prompts[number].clone(),
            references: match self.ids[number].is_empty() {
                true => {
                    concept.images.iter().map(|image| image.path.display().to_string()).collect()
                }
                false => self.ids[number].clone(),
            },
        };
        self.concepts.iter().enumerate().map(given).collect()
    }

    /// The classes of all concepts.
    pub fn classes(&self) -> Vec<&str> {
        self.concepts.iter().map(|concept| concept.class_word.as_str()).collect()
    }
}

/// The pairs of a list whose concepts are evaluated, or neighbours in the order of the data.
fn pairs(file: &Path, concepts: &[ConceptSource]) -> Result<Vec<PairConfig>, Failure> {
    if file == Path::new("neighbours") {
        let pair = |pair: &[ConceptSource]| PairConfig {
            concepts: [pair[0].id.clone(), pair[1].id.clone()],
            prompts: None,
        };
        return Ok(concepts.windows(2).map(pair).collect());
    }
    let is_here = |id: &String| concepts.iter().any(|concept| concept.id == *id);
    let pairs = read_pairs(file)?.into_iter().filter(|pair| pair.concepts.iter().all(is_here));
    let pairs: Vec<PairConfig> = pairs
        .map(|pair| PairConfig { concepts: pair.concepts, prompts: Some(pair.prompts) })
        .collect();
    match pairs.is_empty() {
        true => Err(Failure::Usage(format!(
            "--pairs {}: no pair has both of its concepts in the data",
            file.display()
        ))),
        false => Ok(pairs),
    }
}
