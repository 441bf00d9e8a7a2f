//! The files of a tokenizer folder, with the same precedence as in transformers 5
//! (`tokenization_utils_base.py`, `_from_pretrained`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokenizers::AddedToken;

use super::error::TokenizerError;
use super::json::read_json_if_present;
use super::special_token::SpecialToken;
use super::vocabulary::BpeVocabulary;

/// The context length of every CLIP text encoder of Stable Diffusion 1.x, 2.x and XL.
pub const CLIP_CONTEXT_LENGTH: usize = 77;

/// The contents of a tokenizer folder.
pub(super) struct TokenizerFiles {
    /// The vocabulary with the added tokens.
    pub(super) vocabulary: BpeVocabulary,
    pub(super) bos: SpecialToken,
    pub(super) eos: SpecialToken,
    pub(super) unk: SpecialToken,
    pub(super) pad: SpecialToken,
    pub(super) context_length: usize,
    added: Vec<SpecialToken>,
}

/// `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    tokenizer_class: Option<String>,
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<BTreeMap<u32, SpecialToken>>,
    #[serde(flatten)]
    named: NamedTokens,
}

/// The named special tokens of `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Deserialize, Default)]
struct NamedTokens {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
}

impl NamedTokens {
    /// Whether one of the tokens has this text.
    fn has(&self, content: &str) -> bool {
        let tokens = [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token];
        tokens.into_iter().flatten().any(|token| token.content == content)
    }

    /// The tokens, and those of `other` where they are missing.
    fn or(self, other: Self) -> Self {
        Self {
            bos_token: self.bos_token.or(other.bos_token),
            eos_token: self.eos_token.or(other.eos_token),
            unk_token: self.unk_token.or(other.unk_token),
            pad_token: self.pad_token.or(other.pad_token),
        }
    }
}

impl TokenizerFiles {
    /// Reads a tokenizer folder.
    ///
    /// # Errors
    /// If a file is missing, damaged, or not CLIP's.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config_path = folder.join("tokenizer_config.json");
        let config: TokenizerConfig = read_json_if_present(&config_path)?.unwrap_or_default();
        if let Some(class) = &config.tokenizer_class
            && !matches!(class.as_str(), "CLIPTokenizer" | "CLIPTokenizerFast")
        {
            let (key, expected) = ("tokenizer_class", "CLIPTokenizer");
            return Err(TokenizerError::not_clip(config_path, key, class, expected));
        }
        let context_length = match config.model_max_length {
            Some(length) if length < 2.0 => {
                let (key, expected) = ("model_max_length", "at least 2");
                return Err(TokenizerError::not_clip(config_path, key, length, expected));
            }
            Some(length) if length < 1e6 => length as usize,
            _ => CLIP_CONTEXT_LENGTH,
        };

        let mut vocabulary = BpeVocabulary::read(folder)?;
        let mut named = config.named;
        // Since transformers 4.34, tokenizer_config.json lists every added token, and the other files
        // are ignored. Before, special_tokens_map.json, added_tokens.json and tokenizer.json count.
        let added = match config.added_tokens_decoder {
            Some(added) => added,
            None => {
                let map: Option<NamedTokens> =
                    read_json_if_present(&folder.join("special_tokens_map.json"))?;
                named = map.unwrap_or_default().or(named);
                let names: Option<BTreeMap<String, u32>> =
                    read_json_if_present(&folder.join("added_tokens.json"))?;
                let names = names.unwrap_or_default().into_iter().map(|(name, id)| {
                    (id, SpecialToken { normalized: !named.has(&name), ..SpecialToken::new(name) })
                });
                names.chain(vocabulary.added.drain(..)).collect()
            }
        };
        for (&listed, token) in &added {
            let id = *vocabulary.ids.entry(token.content.clone()).or_insert(listed);
            if id != listed {
                let token = token.content.clone();
                return Err(TokenizerError::TwoIds { path: vocabulary.path, token, id, listed });
            }
        }

        vocabulary.require_one_token_per_id()?;

        let resolve = |token: Option<SpecialToken>, default: &str| {
            let token = token.unwrap_or_else(|| SpecialToken::new(default));
            added.values().find(|other| other.content == token.content).cloned().unwrap_or(token)
        };
        Ok(Self {
            bos: resolve(named.bos_token, "<|startoftext|>"),
            eos: resolve(named.eos_token, "<|endoftext|>"),
            unk: resolve(named.unk_token, "<|endoftext|>"),
            pad: resolve(named.pad_token, "<|endoftext|>"),
            added: added.into_values().collect(),
            vocabulary,
            context_length,
        })
    }

    /// Every token that is extracted from a prompt before the rest is split, each once.
    pub(super) fn added_tokens(&self) -> Vec<AddedToken> {
        let mut tokens: Vec<AddedToken> = Vec::new();
        // If several files list a token, the last one sets the rules by which it is found.
        for token in self.added.iter().chain([&self.bos, &self.eos, &self.unk, &self.pad]) {
            tokens.retain(|other| other.content != token.content);
            tokens.push(AddedToken {
                content: token.content.clone(),
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                normalized: token.normalized,
                special: true,
            });
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{assert_error, folder, write};
    use super::super::{ClipTokenizer, TokenizerError};

    fn config(folder: &tempfile::TempDir, value: &Value) -> Result<ClipTokenizer, TokenizerError> {
        write(folder.path(), "tokenizer_config.json", value);
        ClipTokenizer::from_folder(folder.path())
    }

    #[test]
    fn added_tokens_are_cut_out_of_the_text() {
        let folder = folder("<|endoftext|>");
        write(folder.path(), "added_tokens.json", &json!({"<sks>": 531}));
        let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(tokenizer.encode("a <sks>dog"), [320, 531, 521]);
        assert_eq!(tokenizer.vocab_size(), 532);
    }

    #[test]
    fn tokenizer_config_with_added_tokens_ignores_the_special_tokens_map() {
        let folder = folder("!");
        let added = json!({
            "529": {"content": "<|startoftext|>", "normalized": true, "special": true},
            "530": {"content": "<|endoftext|>", "normalized": false, "special": true},
            "531": {"content": "<sks>", "lstrip": true, "special": false},
        });
        // transformers' "unknown" length is int(1e30).
        let text = format!(r#"{{"added_tokens_decoder":{added},"model_max_length":1{:0>30}}}"#, 0);
        std::fs::write(folder.path().join("tokenizer_config.json"), text).unwrap();
        let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.context_length()), (530, 77));
        assert_eq!(tokenizer.encode("a  <sks>dog"), [320, 531, 521]);
    }

    #[test]
    fn without_tokenizer_config_the_special_tokens_map_counts() {
        let folder = folder("!");
        std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
        assert_eq!(ClipTokenizer::from_folder(folder.path()).unwrap().pad(), 0);
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let folder = folder("!");
        let bert = json!({"tokenizer_class": "BertTokenizer"});
        assert_error(config(&folder, &bert), &["tokenizer_config.json", "`tokenizer_class`"]);
        let short = json!({"model_max_length": 1});
        assert_error(config(&folder, &short), &["tokenizer_config.json", "`model_max_length` = 1"]);
        let two = json!({"added_tokens_decoder": {"7": {"content": "dog</w>"}}});
        assert_error(config(&folder, &two), &["vocab.json", "id 521", "added token 7"]);
        let pad = json!({"added_tokens_decoder": {"0": "!"}, "pad_token": "<pad>"});
        assert_error(config(&folder, &pad), &["vocab.json", "`pad_token` = `<pad>`"]);
        assert_error(config(&folder, &json!([])), &["tokenizer_config.json", "line 1"]);
    }
}
