//! The name that somebody probably meant.

/// The known name that takes the fewest letters to be inserted, removed or replaced, regardless of case;
/// `None` if even that takes more than a third of them.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower: Vec<char> = name.to_lowercase().chars().collect();
    let rated = known.into_iter().map(|known| (edits(&lower, known), known));
    let (edits, found) = rated.min_by_key(|(edits, _)| *edits)?;
    let length = lower.len().max(found.chars().count());
    (edits <= 1.max(length / 3)).then_some(found)
}

/// Levenshtein's distance, one row of its table at a time.
fn edits(name: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (i, letter) in known.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in name.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_name_is_not() {
        let known = ["dog6", "teapot", "backpack_dog"];
        assert_eq!(nearest("dog", known), Some("dog6"));
        assert_eq!(nearest("TeaPod", known), Some("teapot"));
        assert_eq!(nearest("back_pack_dog", known), Some("backpack_dog"));
        assert_eq!(nearest("cat", known), None);
        assert_eq!(nearest("dog", []), None);
        let distance = |a: &str, b| edits(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(
            (distance("kitten", "sitting"), distance("", "abc"), distance("ab", "ab")),
            (3, 3, 0)
        );
    }
}
