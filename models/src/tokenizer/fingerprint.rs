//! A digest of what a tokenizer does with a text.

use std::fmt::Write;

use seqlora_files::sha256;

use super::files::TokenizerFiles;

/// The SHA-256 of the vocabulary, the merges in their order, the special tokens and the context length.
/// It does not depend on the files that these come from: the same vocabulary as `tokenizer.json` and as
/// `vocab.json` with `merges.txt` has the same digest.
pub(super) fn fingerprint(files: &TokenizerFiles) -> String {
    let mut ids: Vec<(&u32, &String)> =
        files.vocabulary.ids.iter().map(|(token, id)| (id, token)).collect();
    ids.sort_unstable();
    let special = [&files.bos, &files.eos, &files.unk, &files.pad].map(|token| &token.content);
    let mut text = String::new();
    let merges = &files.vocabulary.merges;
    write!(text, "{ids:?}{merges:?}{special:?}{}", files.context_length).expect("a string grows");
    sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::ClipTokenizer;
    use super::super::testing::{folder, serialized, write};

    #[test]
    fn it_tells_vocabularies_apart_but_not_files() {
        let folder = folder("!");
        let of = || ClipTokenizer::from_folder(folder.path()).unwrap().fingerprint().to_string();
        let before = of();
        assert_eq!(before.len(), 64);
        let vocabulary = fs::read_to_string(folder.path().join("vocab.json")).unwrap();
        write(folder.path(), "tokenizer.json", &serialized());
        fs::remove_file(folder.path().join("vocab.json")).unwrap();
        assert_eq!(of(), before, "the same vocabulary in another file");

        fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        let swapped =
            vocabulary.replace("\"dog</w>\"", "\"x\"").replace("\"cat</w>\"", "\"dog</w>\"");
        fs::write(folder.path().join("vocab.json"), swapped.replace("\"x\"", "\"cat</w>\""))
            .unwrap();
        assert_ne!(of(), before, "two ids are swapped");
        fs::write(folder.path().join("vocab.json"), vocabulary).unwrap();
        write(folder.path(), "special_tokens_map.json", &json!({"pad_token": "<|endoftext|>"}));
        assert_ne!(of(), before, "another padding");
    }
}
