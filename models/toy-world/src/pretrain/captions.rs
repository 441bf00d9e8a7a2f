//! Captions of random scenes, and their tokens.

use rand::RngExt;
use seqlora_core::error::{Error, Result};
use seqlora_core::rng::Seed;
use seqlora_core::text::{Piece, Tokens};

use super::config::PretrainConfig;
use crate::world::{Description, ObjectDescription, Scene, SceneOptions, Split};
use seqlora_models::tokenizer::ClipTokenizer;

/// Tokenizes captions.
///
/// # Errors
/// If a caption cannot be tokenized.
pub fn tokenize(captions: &[String], tokenizer: &ClipTokenizer) -> Result<Vec<Tokens>> {
    let tokens = captions.iter().map(|caption| {
        let pieces = [Piece::Text(caption.clone())];
        tokenizer.assemble(&pieces).map_err(|e| Error::Prompt(e.to_string()))
    });
    tokens.collect()
}

/// The training scene of a number.
pub fn training_scene(config: &PretrainConfig, seed: &Seed, number: u64) -> Scene {
    let options = SceneOptions { split: Split::Train, pair_probability: config.pair_probability };
    Scene::random(seed, number, &options)
}

/// The caption of a scene in a sample, which is empty with probability `caption_dropout`, for
/// classifier-free guidance.
pub fn caption(config: &PretrainConfig, seed: &Seed, scene: &Scene, sample: u64) -> String {
    let mut rng = seed.fork("caption").at(sample);
    let dropped = rng.random_bool(config.caption_dropout);
    if dropped { String::new() } else { scene.caption(&mut rng) }
}

/// A caption for each half of a scene of two objects, the left or upper one first. Each describes its own
/// object as if it were alone; both are empty with probability `caption_dropout`.
pub fn half_captions(
    config: &PretrainConfig,
    seed: &Seed,
    scene: &Scene,
    sample: u64,
) -> [String; 2] {
    let mut rng = seed.fork("caption").at(sample);
    if rng.random_bool(config.caption_dropout) {
        return [String::new(), String::new()];
    }
    let stated = scene.partial_description(&mut rng);
    let background = stated.background;
    let mut caption = |object: ObjectDescription| {
        let alone = Description { objects: vec![object], relation: None, background };
        alone.caption(&mut rng)
    };
    let [first, second] = [stated.objects[0], stated.objects[1]].map(&mut caption);
    match scene.relation {
        Some(relation) if !relation.is_canonical() => [second, first],
        _ => [first, second],
    }
}
