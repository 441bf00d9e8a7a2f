//! Checks that all settings share.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Longer lists are not spelt out in messages.
const FEW: usize = 8;

/// Refuses counts of none.
///
/// # Errors
/// Names the first.
pub fn at_least_one<'a>(counts: impl IntoIterator<Item = (&'a str, usize)>) -> Result<()> {
    match counts.into_iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => Err(Error::Invalid(format!("`{name}` must be at least 1"))),
        None => Ok(()),
    }
}

/// Refuses counts that are greater than makes sense: a name, a count and its limit each.
///
/// # Errors
/// Names the first.
pub fn at_most<'a>(counts: impl IntoIterator<Item = (&'a str, usize, usize)>) -> Result<()> {
    match counts.into_iter().find(|(_, count, limit)| count > limit) {
        Some((name, count, limit)) => {
            Err(Error::Invalid(format!("`{name}` is {count}; it must be at most {limit}")))
        }
        None => Ok(()),
    }
}

/// Refuses negative numbers and what is none.
///
/// # Errors
/// Names the first.
pub fn not_negative<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
    match values.into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        Some((name, value)) => {
            Err(Error::Invalid(format!("`{name}` is {value}; it must be a number, 0 or more")))
        }
        None => Ok(()),
    }
}

/// The greatest of some numbers, at least 0; NaN if one of them is, so that nothing damaged passes for
/// small.
pub fn greatest(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let greater = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    numbers.into_iter().fold(0.0, greater)
}

/// The first setting in which two configs differ, however deep, and both of its values.
pub fn difference<T: Serialize>(before: &T, now: &T) -> Option<String> {
    let [before, now] = [before, now].map(|c| serde_json::to_value(c).expect("a config is JSON"));
    let (name, before, now) = differing(String::new(), &before, &now)?;
    let shown = |value: &Value| match value {
        Value::Array(entries) if entries.len() > FEW => format!("a list of {}", entries.len()),
        value => value.to_string(),
    };
    Some(format!("`{name}` was {}, now it is {}", shown(before), shown(now)))
}

fn differing<'a>(
    name: String,
    before: &'a Value,
    now: &'a Value,
) -> Option<(String, &'a Value, &'a Value)> {
    let inner = |key: &str| if name.is_empty() { key.into() } else { format!("{name}.{key}") };
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let keys = before.keys().chain(now.keys());
            let value =
                |fields: &'a Map<String, Value>, key| fields.get(key).unwrap_or(&Value::Null);
            keys.into_iter()
                .find_map(|key| differing(inner(key), value(before, key), value(now, key)))
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            let mut both = before.iter().zip(now).enumerate();
            both.find_map(|(at, (before, now))| differing(format!("{name}[{at}]"), before, now))
        }
        _ => (before != now).then_some((name, before, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_in_a_list_is_found_in_it() {
        let list = |last: &str| vec!["a".to_string(), last.to_string()];
        let found = difference(&list("b"), &list("c")).unwrap();
        assert_eq!(found, "`[1]` was \"b\", now it is \"c\"");
        let found = difference(&vec![0; 9], &vec![0; 2]).unwrap();
        assert_eq!(found, "`` was a list of 9, now it is [0,0]");
        assert_eq!(difference(&list("b"), &list("b")), None);
    }

    #[test]
    fn no_nan_vanishes_in_a_maximum() {
        assert_eq!(greatest([0.5, 2.0, 1.0]), 2.0);
        for numbers in [[f64::NAN, 1.0], [1.0, f64::NAN]] {
            assert!(greatest(numbers).is_nan());
        }
    }

    #[test]
    fn the_first_that_means_nothing_is_named() {
        assert!(at_least_one([("steps", 1)]).is_ok());
        let refusal = at_least_one([("steps", 1), ("batch", 0)]).unwrap_err();
        assert!(refusal.to_string().contains("`batch`"));
        assert!(at_most([("steps", 2, 2)]).is_ok());
        let refusal = at_most([("steps", 1, 2), ("batch", 3, 2)]).unwrap_err();
        assert!(refusal.to_string().contains("`batch` is 3"));
        assert!(not_negative([("rate", 0.0)]).is_ok());
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            let refusal = not_negative([("rate", value)]).unwrap_err();
            assert!(refusal.to_string().contains("`rate`"));
        }
    }
}
