//! A small tokenizer folder, for the tests.

use std::path::Path;

use serde_json::{Value, json};

use super::{ClipTokenizer, TokenizerError};

const MERGES: [&str; 16] = [
    "a n",
    "t h",
    "th e</w>",
    "p h",
    "ph o",
    "pho t",
    "phot o</w>",
    "o f</w>",
    "d o",
    "do g</w>",
    "c a",
    "ca t</w>",
    "' s</w>",
    "a n</w>",
    "i n",
    "! !</w>",
];
const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";

/// A vocabulary in CLIP's order: byte symbols, byte symbols that end a word, merges, BOS, EOS.
fn vocabulary() -> (Value, Vec<String>) {
    let printable = (b'!'..=b'~').chain(0xa1..=0xac).chain(0xae..=0xff);
    let mut bytes: Vec<char> = printable.map(char::from).collect();
    let others = (0..=255).filter(|byte| !bytes.contains(&char::from(*byte))).count() as u32;
    bytes.extend((256..256 + others).filter_map(char::from_u32));
    let merges: Vec<String> =
        MERGES.map(String::from).into_iter().chain(["Ã ©</w>".to_string()]).collect();
    let mut words: Vec<String> = bytes.iter().map(char::to_string).collect();
    words.extend(bytes.iter().map(|symbol| format!("{symbol}</w>")));
    words.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    words.extend([BOS.to_string(), EOS.to_string()]);
    let vocab = words.into_iter().enumerate().map(|(id, word)| (word, json!(id))).collect();
    (Value::Object(vocab), merges)
}

pub(super) fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

/// The files of Stable Diffusion 1.5 (pads with EOS) or 2.1 (pads with `!`).
pub(super) fn folder(pad: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (vocab, merges) = vocabulary();
    write(folder.path(), "vocab.json", &vocab);
    let merges = format!("#version: 0.2\n{}\n", merges.join("\n"));
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
    let token = |content: &str| {
        json!({"__type": "AddedToken", "content": content, "lstrip": false,
               "normalized": true, "rstrip": false, "single_word": false})
    };
    let mut named = json!({"bos_token": token(BOS), "eos_token": token(EOS),
                           "unk_token": token(EOS), "pad_token": pad});
    write(folder.path(), "special_tokens_map.json", &named);
    named["tokenizer_class"] = json!("CLIPTokenizer");
    named["model_max_length"] = json!(77);
    write(folder.path(), "tokenizer_config.json", &named);
    folder
}

/// The same vocabulary in one `tokenizer.json`.
pub(super) fn serialized() -> Value {
    let (vocab, merges) = vocabulary();
    json!({"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocab,
                     "merges": merges}, "added_tokens": []})
}

pub(super) fn tokenizer(pad: &str) -> ClipTokenizer {
    ClipTokenizer::from_folder(folder(pad).path()).unwrap()
}

#[track_caller]
pub(super) fn assert_error(result: Result<ClipTokenizer, TokenizerError>, expected: &[&str]) {
    let error = result.unwrap_err().to_string();
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
}
