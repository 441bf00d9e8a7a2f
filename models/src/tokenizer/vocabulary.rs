//! The vocabulary and merges of a tokenizer folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;
pub(super) use tokenizers::models::bpe::{Merges, Vocab};

use super::error::TokenizerError;
use super::json::read_json_if_present;
use super::special_token::SpecialToken;

/// The tables of byte-pair encoding: token ids and merges.
pub(super) struct BpeVocabulary {
    /// The file that holds `ids`.
    pub(super) path: PathBuf,
    pub(super) ids: Vocab,
    pub(super) merges: Merges,
    /// The added tokens of `tokenizer.json`, with their ids.
    pub(super) added: Vec<(u32, SpecialToken)>,
}

/// `tokenizer.json`.
#[derive(Deserialize)]
struct TokenizerJson {
    model: Option<SerializedModel>,
    #[serde(default)]
    added_tokens: Vec<SerializedToken>,
}

/// An entry of `added_tokens`.
#[derive(Deserialize)]
struct SerializedToken {
    id: u32,
    #[serde(flatten)]
    token: SpecialToken,
}

/// `model` of `tokenizer.json`.
#[derive(Deserialize)]
struct SerializedModel {
    #[serde(rename = "type")]
    kind: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: Option<Vocab>,
    merges: Option<Vec<SerializedMerge>>,
}

/// A merge in JSON is `"a b"` or, since tokenizers 0.20, `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum SerializedMerge {
    Line(String),
    Pair(String, String),
}

impl BpeVocabulary {
    /// Reads `tokenizer.json` if it exists, otherwise `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// If a file is missing, damaged, or not CLIP's.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        match read_json_if_present(&path)? {
            Some(file) => Self::from_tokenizer_json(path, file),
            None => Self::from_vocab_and_merges(folder),
        }
    }

    fn from_tokenizer_json(path: PathBuf, file: TokenizerJson) -> Result<Self, TokenizerError> {
        let missing = |key| TokenizerError::MissingKey { path: path.clone(), key };
        let model = file.model.ok_or_else(|| missing("model"))?;
        if let Some(kind) = model.kind.filter(|kind| kind != "BPE") {
            return Err(TokenizerError::not_clip(path, "model.type", kind, "BPE"));
        }
        let suffix = model.end_of_word_suffix.unwrap_or_default();
        if suffix != "</w>" {
            return Err(TokenizerError::not_clip(path, "model.end_of_word_suffix", suffix, "</w>"));
        }
        let ids = model.vocab.ok_or_else(|| missing("model.vocab"))?;
        let merges = model.merges.ok_or_else(|| missing("model.merges"))?;
        let merges = merges.into_iter().enumerate().map(|(i, merge)| match merge {
            SerializedMerge::Line(line) => split_merge(&path, i + 1, &line),
            SerializedMerge::Pair(left, right) => Ok((left, right)),
        });
        let merges = merges.collect::<Result<_, _>>()?;
        let added = file.added_tokens.into_iter().map(|entry| (entry.id, entry.token)).collect();
        Ok(Self { path, ids, merges, added })
    }

    fn from_vocab_and_merges(folder: &Path) -> Result<Self, TokenizerError> {
        let (path, merges_path) = (folder.join("vocab.json"), folder.join("merges.txt"));
        let no_vocabulary = || TokenizerError::NoVocabulary { folder: folder.to_path_buf() };
        let ids = read_json_if_present(&path)?.ok_or_else(no_vocabulary)?;
        let text = std::fs::read_to_string(&merges_path)
            .map_err(|source| TokenizerError::Read { path: merges_path.clone(), source })?;
        let lines = text.lines().enumerate();
        let merges = lines
            .filter(|(_, line)| !line.starts_with("#version") && !line.is_empty())
            .map(|(i, line)| split_merge(&merges_path, i + 1, line))
            .collect::<Result<_, _>>()?;
        Ok(Self { path, ids, merges, added: Vec::new() })
    }
}

/// The two symbols of a merge in line number `line` of a file.
fn split_merge(path: &Path, line: usize, text: &str) -> Result<(String, String), TokenizerError> {
    match text.split(' ').collect::<Vec<_>>().as_slice() {
        [left, right] => Ok((left.to_string(), right.to_string())),
        _ => Err(TokenizerError::Merge { path: path.to_path_buf(), line, text: text.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::ClipTokenizer;
    use super::super::testing::{assert_error, folder, serialized, write};

    #[test]
    fn tokenizer_json_alone_is_enough_and_wins() {
        let folder = folder("!");
        for name in ["tokenizer_config.json", "special_tokens_map.json", "merges.txt"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        write(folder.path(), "vocab.json", &json!({}));
        let mut file = serialized();
        write(folder.path(), "tokenizer.json", &file);
        let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(tokenizer.encode("a photo!"), [320, 518, 256]);
        assert_eq!((tokenizer.pad(), tokenizer.context_length()), (530, 77));

        let pairs = file["model"]["merges"].as_array().unwrap().iter();
        let pairs =
            pairs.map(|merge| json!(merge.as_str().unwrap().split(' ').collect::<Vec<_>>()));
        file["model"]["merges"] = pairs.collect();
        write(folder.path(), "tokenizer.json", &file);
        let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(tokenizer.encode("a photo!"), [320, 518, 256]);
    }

    #[test]
    fn a_tokenizer_json_of_another_kind_is_refused() {
        let folder = folder("!");
        let read = |edit: fn(&mut Value)| {
            let mut file = serialized();
            edit(&mut file);
            write(folder.path(), "tokenizer.json", &file);
            ClipTokenizer::from_folder(folder.path())
        };
        assert_error(read(|file| file["model"]["type"] = json!("Unigram")), &["`model.type`"]);
        let suffix = read(|file| file["model"]["end_of_word_suffix"] = Value::Null);
        assert_error(suffix, &["tokenizer.json", "`model.end_of_word_suffix`"]);
        assert_error(read(|file| file["model"] = Value::Null), &["`model` is missing"]);
        let vocab = read(|file| file["model"]["vocab"] = Value::Null);
        assert_error(vocab, &["`model.vocab` is missing"]);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let empty = tempfile::tempdir().unwrap();
        let path = empty.path().display().to_string();
        assert_error(ClipTokenizer::from_folder(empty.path()), &[&path, "tokenizer.json"]);

        let folder = folder("!");
        std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\na n\nabc\n").unwrap();
        let merge = ClipTokenizer::from_folder(folder.path());
        assert_error(merge, &["merges.txt line 3", "abc"]);
        std::fs::write(folder.path().join("merges.txt"), "a zz\n").unwrap();
        assert_error(ClipTokenizer::from_folder(folder.path()), &["vocab.json", "zz"]);
        std::fs::remove_file(folder.path().join("merges.txt")).unwrap();
        assert_error(ClipTokenizer::from_folder(folder.path()), &["cannot read", "merges.txt"]);
    }
}
