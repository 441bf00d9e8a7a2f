//! Parsers' messages in plain words.

/// What parsers call Rust's types, and what users call them.
const NAMES: [(&str, &str); 13] = [
    ("expected usize", "expected a whole number from 0 on"),
    ("expected u64", "expected a whole number from 0 on"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u8", "expected a whole number from 0 to 255"),
    ("expected f64", "expected a number"),
    ("expected f32", "expected a number"),
    (" as i128", ""),
    (" as u128", ""),
    ("expected a sequence", "expected a list"),
    ("type: sequence", "type: list"),
    ("type: map", "type: object"),
    ("expected a map", "expected an object"),
];

/// What parsers call a struct, before its name.
const STRUCT: &str = "struct ";

/// A parser's message without the names of Rust's types.
pub fn plain(message: &str) -> String {
    let text =
        NAMES.iter().fold(message.to_string(), |text, (name, words)| text.replace(name, words));
    let mut parts = text.split(STRUCT);
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, rest| match rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        true => text + "an object" + rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()),
        false => text + STRUCT + rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_plain_names() {
        for (message, expected) in [
            (
                "invalid type: integer `-3` as i128, expected usize",
                "invalid type: integer `-3`, expected a whole number from 0 on",
            ),
            ("expected struct Line at line 1", "expected an object at line 1"),
            ("a struct of steel", "a struct of steel"),
            ("expected struct Line", "expected an object"),
        ] {
            assert_eq!(plain(message), expected);
        }
    }
}
