//! Text of strangers in messages.

/// The text with its control characters written as `\u{1b}`: in a terminal they could move the cursor,
/// hide what was printed, or type commands.
pub fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_change() {
        assert_eq!(printable("it's \"ö\\\""), "it's \"ö\\\"");
        assert_eq!(printable("a\u{1b}[2J\r\n\u{9b}"), "a\\u{1b}[2J\\u{d}\\u{a}\\u{9b}");
    }
}
