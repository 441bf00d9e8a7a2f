//! The digest of a tokenizer's content.

use std::collections::BTreeMap;
use std::fmt::Write;

use seqlora_files::sha256;
use tokenizers::AddedToken;

use super::vocabulary::BpeVocabulary;

/// The first 32 hexadecimal digits of the SHA-256 of the vocabulary in the order of ids, the merges in
/// their order, the added tokens with their rules, and the numbers.
pub(super) fn of(
    vocabulary: &BpeVocabulary,
    added: &[AddedToken],
    specials: [u32; 4],
    context_length: usize,
) -> String {
    let mut lines = String::new();
    let mut line = |content: String| writeln!(lines, "{content}").expect("a string can be written");
    let by_id: BTreeMap<u32, &String> =
        vocabulary.ids.iter().map(|(token, id)| (*id, token)).collect();
    // With its length, no text can be taken for another.
    let text = |text: &str| format!("{}:{text}", text.len());
    by_id.iter().for_each(|(id, token)| line(format!("token {id} {}", text(token))));
    for (left, right) in &vocabulary.merges {
        line(format!("merge {} {}", text(left), text(right)));
    }
    let mut added: Vec<&AddedToken> = added.iter().collect();
    added.sort_by(|a, b| a.content.cmp(&b.content));
    for AddedToken { content, single_word, lstrip, rstrip, normalized, .. } in added {
        let content = text(content);
        line(format!("added {content} {single_word} {lstrip} {rstrip} {normalized}"));
    }
    line(format!("specials {specials:?} context {context_length}"));
    sha256(lines.as_bytes())[..32].to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ClipTokenizer;
    use super::super::testing::{folder, serialized, tokenizer, write};

    #[test]
    fn the_content_counts_and_not_the_form() {
        let own = tokenizer("!").digest().to_string();
        assert_eq!(own.len(), 32);
        assert_eq!(tokenizer("!").digest(), own);
        assert_ne!(tokenizer("<|endoftext|>").digest(), own, "another padding");

        let folder = folder("!");
        let digest = || ClipTokenizer::from_folder(folder.path()).unwrap().digest().to_string();
        let mut file = serialized();
        write(folder.path(), "tokenizer.json", &file);
        assert_eq!(digest(), own, "the same in one file");
        let vocab = file["model"]["vocab"].as_object_mut().unwrap();
        let (dog, of) = (vocab["dog</w>"].clone(), vocab["of</w>"].clone());
        vocab.extend([("dog</w>".into(), of), ("of</w>".into(), dog)]);
        write(folder.path(), "tokenizer.json", &file);
        assert_ne!(digest(), own, "two ids swapped");
        std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        write(folder.path(), "added_tokens.json", &json!({"<sks>": 531}));
        assert_ne!(digest(), own, "a token added");
    }
}
