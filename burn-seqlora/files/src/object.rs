//! JSON objects of strangers, with errors that name the key.

use serde::de::DeserializeOwned;
use serde_json::{Error, Map, Value};

use crate::printable::printable;

/// Parses a JSON object into a struct all of whose fields have defaults.
///
/// # Errors
/// A sentence that names the first key with a value that cannot be used, or the line and column where
/// the text is no JSON.
pub fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|e| plain(&e))?;
    T::deserialize(Value::Object(object.clone())).map_err(|error| {
        // A parser of values does not tell the key; alone, only the one at fault is refused.
        let refusal = |(key, value): (&String, &Value)| {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            let error = T::deserialize(Value::Object(alone)).err()?;
            Some(format!("`{}`: {}", printable(key), plain(&error)))
        };
        object.iter().find_map(refusal).unwrap_or_else(|| plain(&error))
    })
}

/// A parser's message without the names of Rust's types.
fn plain(error: &Error) -> String {
    let names = [
        ("expected usize", "expected a whole number from 0 on"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected a sequence", "expected a list"),
        ("type: sequence", "type: list"),
        ("type: map", "type: object"),
        ("expected f64", "expected a number"),
        ("expected a map", "expected an object"),
    ];
    let text =
        names.iter().fold(error.to_string(), |text, (name, words)| text.replace(name, words));
    printable(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sizes {
        width: usize,
        scale: f64,
    }

    #[test]
    fn the_key_at_fault_is_named() {
        let cases = [
            (r#"{"scale": 1, "width": -3}"#, "`width`: ", "expected a whole number"),
            (r#"{"width": 3, "scale": "x"}"#, "`scale`: ", "expected a number"),
            (r#"{"depth": 3}"#, "`depth`: ", "unknown field"),
            ("[]", "invalid type: list", "expected an object"),
            (r#"{"width": "#, "EOF", "line 1 column 10"),
        ];
        for (text, start, end) in cases {
            let error = parse_object::<Sizes>(text).unwrap_err();
            assert!(error.starts_with(start) && error.contains(end), "{error}");
        }
        let sizes: Sizes = parse_object(r#"{"width": 3}"#).unwrap();
        assert_eq!((sizes.width, sizes.scale), (3, 0.0));
    }
}
