//! Captions of random scenes, and their tokens.

use rand::RngExt;
use seqlora_core::error::{Error, Result};
use seqlora_core::rng::Seed;
use seqlora_core::text::{Piece, Tokens};

use super::config::PretrainConfig;
use crate::world::{Scene, SceneOptions, Split};
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

/// The training scene of a number, and its caption in a sample, which is empty with probability
/// `caption_dropout`, for classifier-free guidance.
pub fn captioned(
    config: &PretrainConfig,
    seed: &Seed,
    number: u64,
    sample: u64,
) -> (Scene, String) {
    let options = SceneOptions { split: Split::Train, pair_probability: config.pair_probability };
    let scene = Scene::random(seed, number, &options);
    let mut rng = seed.fork("caption").at(sample);
    let dropped = rng.random_bool(config.caption_dropout);
    let caption = if dropped { String::new() } else { scene.caption(&mut rng) };
    (scene, caption)
}
