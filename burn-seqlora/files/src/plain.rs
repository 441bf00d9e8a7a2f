//! Parsers' messages in plain words.

/// What parsers call Rust's types, and what users call them.
const NAMES: [(&str, &str); 11] = [
    ("expected usize", "expected a whole number from 0 on"),
    ("expected u64", "expected a whole number from 0 on"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u8", "expected a whole number from 0 to 255"),
    ("expected f64", "expected a number"),
    ("expected f32", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("type: sequence", "type: list"),
    ("type: map", "type: object"),
    ("expected a map", "expected an object"),
];

/// A parser's message without the names of Rust's types.
pub(crate) fn plain(message: &str) -> String {
    NAMES.iter().fold(message.to_string(), |text, (name, words)| text.replace(name, words))
}
