//! A new diffusers folder without weights: its configs and a tokenizer.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::write_atomic;
use serde_json::{Map, Value, json};

use crate::StableDiffusionConfig;
use crate::weights::ModelError;

/// The description of a new model. The sizes have the keys of diffusers' `config.json` files.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// `unet/config.json`
    pub unet: Value,
    /// `text_encoder/config.json` without `vocab_size`, which follows from the words.
    pub text_encoder: Value,
    /// `vae/config.json`
    pub vae: Value,
    /// The keys of `scheduler/scheduler_config.json` that differ from Stable Diffusion's.
    pub scheduler: Value,
    /// The words that are one token each. All other words are split into letters or shorter words.
    pub words: Vec<&'static str>,
}

impl Blueprint {
    /// Writes the folder, and returns its configs as they are read back.
    ///
    /// # Errors
    /// If the folder cannot be written, or two configs contradict each other.
    pub fn write(mut self, folder: &Path) -> Result<StableDiffusionConfig, ModelError> {
        let merges = byte_pair_merges(&self.words);
        let tokens = tokens(&merges);
        self.text_encoder["vocab_size"] = json!(tokens.len());
        let length = self.text_encoder.get("max_position_embeddings").cloned().unwrap_or(json!(77));
        write_tokenizer(&folder.join("tokenizer"), &tokens, &merges, length)?;
        let configs = [
            ("model_index.json", model_index()),
            ("unet/config.json", self.unet),
            ("text_encoder/config.json", self.text_encoder),
            ("vae/config.json", self.vae),
            ("scheduler/scheduler_config.json", scheduler(&self.scheduler)),
        ];
        for (name, config) in configs {
            write_json(&folder.join(name), &config)?;
        }
        StableDiffusionConfig::read(folder)
    }
}

fn model_index() -> Value {
    json!({
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    })
}

/// Stable Diffusion's scheduler config with the given changes.
fn scheduler(changes: &Value) -> Value {
    let mut config = json!({
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": false,
        "prediction_type": "epsilon",
        "set_alpha_to_one": false,
        "steps_offset": 1,
    });
    for (key, value) in changes.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// A merge of byte-pair encoding: two symbols that become one.
type Merge = (String, String);

/// The merges that make each word one token. Each merge joins the most frequent pair of neighbouring
/// symbols (Sennrich et al. 2016, arXiv 1508.07909, algorithm 1).
fn byte_pair_merges(words: &[&str]) -> Vec<Merge> {
    // The tokenizer splits words at every character that is not a letter.
    let pieces = words.iter().flat_map(|word| word.split(|c: char| !c.is_alphabetic()));
    let mut words: Vec<Vec<String>> = pieces.filter(|p| !p.is_empty()).map(symbols).collect();
    let mut merges = Vec::new();
    loop {
        let mut counts: BTreeMap<Merge, usize> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += 1;
        }
        let Some((merge, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
            return merges;
        };
        for word in &mut words {
            apply(&merge, word);
        }
        merges.push(merge);
    }
}

/// The characters of a word, the last of which is marked with [`END_OF_WORD`].
fn symbols(word: &str) -> Vec<String> {
    let mut symbols: Vec<String> = word.chars().map(String::from).collect();
    symbols.last_mut().expect("a word has letters").push_str(END_OF_WORD);
    symbols
}

/// Joins every occurrence of a merge's two symbols in a word.
fn apply((left, right): &Merge, word: &mut Vec<String>) {
    let mut at = 0;
    while at + 1 < word.len() {
        if word[at] == *left && word[at + 1] == *right {
            let right = word.remove(at + 1);
            word[at].push_str(&right);
        }
        at += 1;
    }
}

const END_OF_WORD: &str = "</w>";

/// All tokens in the order of their ids: every byte, every byte that ends a word, the merges' results,
/// and two special tokens.
fn tokens(merges: &[Merge]) -> Vec<String> {
    let letters: Vec<String> = byte_alphabet().map(String::from).collect();
    let ends = letters.iter().map(|letter| format!("{letter}{END_OF_WORD}"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let specials = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    letters.iter().cloned().chain(ends).chain(merged).chain(specials).collect()
}

fn write_tokenizer(
    folder: &Path,
    tokens: &[String],
    merges: &[Merge],
    length: Value,
) -> Result<(), ModelError> {
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let merges: String = merges.iter().map(|(left, right)| format!("{left} {right}\n")).collect();
    let config = json!({
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": length,
    });
    write_json(&folder.join("vocab.json"), &Value::Object(vocab))?;
    write_text(&folder.join("merges.txt"), &format!("#version: 0.2\n{merges}"))?;
    write_json(&folder.join("tokenizer_config.json"), &config)
}

/// The characters that byte-level BPE (GPT-2, CLIP) uses for the 256 bytes: a printable byte is its own
/// character, and the others get the code points from 256 on.
fn byte_alphabet() -> impl Iterator<Item = char> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let themselves = (0..256).filter(move |byte| printable(*byte));
    let others = (0..256).filter(move |byte| !printable(*byte)).enumerate();
    let moved = others.map(|(number, _)| 256 + number as u32);
    themselves.chain(moved).map(|code| char::from_u32(code).expect("code points below 512"))
}

/// Writes indented JSON to a file, and creates its folder if necessary.
///
/// # Errors
/// If the folder or the file cannot be written, or the file is a link.
pub fn write_json(file: &Path, value: &Value) -> Result<(), ModelError> {
    write_text(file, &(serde_json::to_string_pretty(value).expect("a value is JSON") + "\n"))
}

fn write_text(file: &Path, text: &str) -> Result<(), ModelError> {
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    Ok(write_atomic(file, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::ClipTokenizer;

    #[test]
    fn each_word_is_one_token_and_others_are_spelt() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["red", "tree", "close-up", "a", "striped", "stripes"];
        let merges = byte_pair_merges(&words);
        write_tokenizer(folder.path(), &tokens(&merges), &merges, json!(77)).unwrap();
        let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
        for word in ["red", "tree", "close", "up", "a", "striped", "stripes"] {
            assert_eq!(tokenizer.encode(word).len(), 1, "{word}");
        }
        assert_eq!(tokenizer.encode("a close-up").len(), 4);
        assert!(tokenizer.encode("reed").len() > 1);
        assert_eq!(tokenizer.vocab_size(), 512 + merges.len() + 2);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let (folder, victim) =
            (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(victim.path(), "kept").unwrap();
        let link = folder.path().join("config.json");
        std::os::unix::fs::symlink(victim.path(), &link).unwrap();
        let error = write_json(&link, &json!({})).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "kept");
    }
}
