//! Settings and prompts.

use std::fs;
use std::path::Path;

use seqlora_core::settings::TrainConfig;
use seqlora_core::text::{Piece, Vocabulary, next_placeholder};

use crate::target::{Target, holds};

/// A file of settings for training.
pub const SETTINGS: Target = Target {
    name: "settings",
    files: || {
        let settings = toml::to_string(&TrainConfig::default()).expect("settings are TOML");
        vec![("settings.toml".into(), settings.into_bytes())]
    },
    read: |folder| {
        let text = text(&folder.join("settings.toml"));
        let Ok(config) = toml::from_str::<TrainConfig>(&text) else { return false };
        if config.validate().is_err() {
            return false;
        }
        for step in [0, 1, config.steps] {
            holds(config.decay(step).is_finite(), "learning rates are finite");
        }
        true
    },
};

/// A prompt with concepts.
pub const PROMPT: Target = Target {
    name: "prompt",
    files: || vec![("prompt.txt".into(), b"a <cat> and a <dog-2> on <grass, <<cat>>".to_vec())],
    read: |folder| {
        let prompt = text(&folder.join("prompt.txt"));
        let mut vocabulary = Vocabulary::default();
        for (id, words) in [("cat", 2), ("dog-2", 1)] {
            vocabulary.push(id, words, 3);
        }
        let mut rest = prompt.as_str();
        while let Some((before, id, after)) = next_placeholder(rest) {
            holds(before.len() + id.len() + after.len() + 2 == rest.len(), "nothing is lost");
            rest = after;
        }
        let Ok(pieces) = vocabulary.split(&prompt) else { return false };
        let known = |piece: &Piece| !matches!(piece, Piece::Word(number) if *number > 2);
        holds(pieces.iter().all(known), "words are the vocabulary's");
        true
    },
};

/// A text, whatever its bytes are.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("it was written")).into_owned()
}
