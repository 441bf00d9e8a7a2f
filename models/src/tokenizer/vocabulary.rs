//! The vocabulary and merges of a tokenizer folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
pub(super) use tokenizers::models::bpe::{Merges, Vocab};

use super::error::TokenizerError;
use super::json::{read_json_if_present, read_text};
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
#[serde(untagged, expecting = "expected merges, each as \"a b\" or [\"a\", \"b\"]")]
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
            SerializedMerge::Pair(left, right) => Ok(Merge { line: i + 1, left, right }),
        });
        let merges = checked_merges(&path, &ids, merges.collect::<Result<_, _>>()?)?;
        let added = file.added_tokens.into_iter().map(|entry| (entry.id, entry.token)).collect();
        Ok(Self { path, ids, merges, added })
    }

    fn from_vocab_and_merges(folder: &Path) -> Result<Self, TokenizerError> {
        let (path, merges_path) = (folder.join("vocab.json"), folder.join("merges.txt"));
        let no_vocabulary = || TokenizerError::NoVocabulary { folder: folder.to_path_buf() };
        let ids = read_json_if_present(&path)?.ok_or_else(no_vocabulary)?;
        let text = read_text(&merges_path)?;
        let lines = text.lines().enumerate();
        let merges = lines
            .filter(|(_, line)| !line.starts_with("#version") && !line.is_empty())
            .map(|(i, line)| split_merge(&merges_path, i + 1, line))
            .collect::<Result<_, _>>()?;
        let merges = checked_merges(&merges_path, &ids, merges)?;
        Ok(Self { path, ids, merges, added: Vec::new() })
    }

    /// Refuses two tokens with the same id, the added ones among them.
    ///
    /// # Errors
    /// The error names both.
    pub(super) fn require_one_token_per_id(&self) -> Result<(), TokenizerError> {
        let mut by_id: HashMap<u32, &String> = HashMap::with_capacity(self.ids.len());
        for (token, id) in &self.ids {
            if let Some(other) = by_id.insert(*id, token) {
                let mut tokens = [other.clone(), token.clone()];
                tokens.sort();
                return Err(TokenizerError::SameId { path: self.path.clone(), id: *id, tokens });
            }
        }
        Ok(())
    }
}

/// A merge and where it stands.
struct Merge {
    line: usize,
    left: String,
    right: String,
}

/// The merges, whose symbols and results are all in the vocabulary.
fn checked_merges(path: &Path, ids: &Vocab, merges: Vec<Merge>) -> Result<Merges, TokenizerError> {
    for Merge { line, left, right } in &merges {
        let result = format!("{left}{right}");
        if let Some(token) =
            [left, right, &result].into_iter().find(|token| !ids.contains_key(*token))
        {
            let (path, token) = (path.to_path_buf(), token.clone());
            return Err(TokenizerError::MergeToken { path, line: *line, token });
        }
    }
    // Apart from special tokens, a vocabulary without merges has letters only.
    let word = ids.keys().filter(|token| is_word(token)).min();
    match word {
        Some(token) if merges.is_empty() => {
            Err(TokenizerError::NoMerges { path: path.to_path_buf(), token: token.clone() })
        }
        _ => Ok(merges.into_iter().map(|merge| (merge.left, merge.right)).collect()),
    }
}

/// Whether a token is made of several symbols, and is no special token such as `<|endoftext|>`.
fn is_word(token: &str) -> bool {
    let letters = token.strip_suffix("</w>").unwrap_or(token);
    letters.chars().count() > 1 && !letters.starts_with('<')
}

/// The two symbols of a merge in line number `line` of a file.
fn split_merge(path: &Path, line: usize, text: &str) -> Result<Merge, TokenizerError> {
    match text.split(' ').collect::<Vec<_>>().as_slice() {
        [left, right] => Ok(Merge { line, left: left.to_string(), right: right.to_string() }),
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
    fn an_id_has_one_token() {
        let folder = folder("!");
        let mut file = serialized();
        file["model"]["vocab"]["dog</w>"] = json!(519);
        write(folder.path(), "tokenizer.json", &file);
        let twice = ClipTokenizer::from_folder(folder.path());
        assert_error(twice, &["tokenizer.json", "`dog</w>` and `of</w>`", "id 519"]);
        file["model"]["vocab"]["dog</w>"] = json!(-1);
        write(folder.path(), "tokenizer.json", &file);
        assert_error(
            ClipTokenizer::from_folder(folder.path()),
            &["tokenizer.json", "`model`", "-1"],
        );
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
        std::fs::write(folder.path().join("merges.txt"), "a n\na zz\n").unwrap();
        assert_error(ClipTokenizer::from_folder(folder.path()), &["merges.txt line 2", "`zz`"]);
        std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\n").unwrap();
        let none = ClipTokenizer::from_folder(folder.path());
        assert_error(none, &["merges.txt holds no merges", "`!!</w>`"]);
        std::fs::remove_file(folder.path().join("merges.txt")).unwrap();
        assert_error(ClipTokenizer::from_folder(folder.path()), &["cannot read", "merges.txt"]);
    }
}
