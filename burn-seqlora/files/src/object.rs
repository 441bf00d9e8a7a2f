//! JSON objects of strangers, with errors that name the key.

use serde::de::DeserializeOwned;
use serde_json::{Error, Map, Value};

use crate::plain::plain;
use crate::printable::printable;

/// Parses a JSON object into a struct all of whose fields have defaults.
///
/// # Errors
/// A sentence that names the first key with a value that cannot be used, or the line and column where
/// the text is no JSON.
pub fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|e| said(&e))?;
    T::deserialize(Value::Object(object.clone())).map_err(|error| {
        // A parser of values does not tell the key; alone, only the one at fault is refused.
        let refusal = |(key, value): (&String, &Value)| {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            let error = T::deserialize(Value::Object(alone)).err()?;
            Some(format!("`{}`: {}", printable(key), said(&error)))
        };
        object.iter().find_map(refusal).unwrap_or_else(|| said(&error))
    })
}

/// A parser's message in plain words, safe to be printed.
fn said(error: &Error) -> String {
    printable(&plain(&error.to_string())).into_owned()
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
