//! Settings and prompts.

use std::fs;
use std::path::Path;

use seqlora_core::error::Result;
use seqlora_core::settings::TrainConfig;
use seqlora_core::text::{
    Chunk, Piece, Tokenizing, Vocabulary, chunks, next_placeholder, parse_weights,
};

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
    files: || {
        vec![(
            "prompt.txt".into(),
            b"a <cat> and (a <dog-2>:1.2), [on] BREAK \\(<grass, <<cat>>\\)".to_vec(),
        )]
    },
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
        if let Ok(chunks) = in_chunks(&prompt, &vocabulary) {
            for Chunk { pieces, weights } in chunks {
                holds(pieces.len() == weights.len() && pieces.len() <= ROOM, "chunks are not full");
                holds(weights.iter().all(|weight| weight.abs() <= 10.0), "weights are limited");
            }
        }
        let Ok(pieces) = vocabulary.split(&prompt) else { return false };
        let known = |piece: &Piece| !matches!(piece, Piece::Word(number) if *number > 2);
        holds(pieces.iter().all(known), "words are the vocabulary's");
        true
    },
};

/// Tokens in a chunk.
const ROOM: usize = 75;

/// A weighted prompt in chunks, with a token for each byte.
fn in_chunks(prompt: &str, vocabulary: &Vocabulary) -> Result<Vec<Chunk>> {
    let token_ids = |text: &str| text.bytes().map(u32::from).collect();
    let tokenizing = Tokenizing { token_ids: &token_ids, room: ROOM };
    chunks(&parse_weights(prompt)?, vocabulary, &tokenizing)
}

/// A text, whatever its bytes are.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("it was written")).into_owned()
}
