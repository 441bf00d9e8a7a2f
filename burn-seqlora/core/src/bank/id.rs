//! The ids of concepts.

/// The longest id: it leaves room for suffixes below the 255 bytes that file systems allow.
const LONGEST: usize = 100;

/// Whether `id` can name a concept in prompts and its folder on every system: letters A-Z a-z, digits,
/// `.`, `_` and `-`, at most 100 of them, the first a letter or digit and the last no `.`.
pub fn is_concept_id(id: &str) -> bool {
    id.len() <= LONGEST
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        // Windows drops a trailing dot, and two ids would share a folder.
        && !id.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_folder_names() {
        for good in ["a", "bear_plushie-2.1", "7", &"a".repeat(100)] {
            assert!(is_concept_id(good), "{good}");
        }
        let long = "a".repeat(101);
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "-rf", "dog.", "é", &long] {
            assert!(!is_concept_id(bad), "{bad}");
        }
    }
}
