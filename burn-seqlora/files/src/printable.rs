//! Text of strangers in messages.

use std::borrow::Cow;

/// Text in which no character can steer a terminal or turn the direction of what follows: such
/// characters appear as `\u{1b}`. Line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| match c {
        '\n' | '\t' => false,
        // Directions, and the separators of lines and paragraphs.
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escaped = |text: String, c: char| match steers(c) {
        true => text + &c.escape_unicode().to_string(),
        false => text + c.encode_utf8(&mut [0; 4]),
    };
    Cow::Owned(text.chars().fold(String::new(), escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_steers_a_terminal_changes() {
        assert_eq!(printable("it's \"ö\\\"\n\t"), "it's \"ö\\\"\n\t");
        assert_eq!(printable("a\u{1b}[2J\r\u{9b}\u{202e}"), "a\\u{1b}[2J\\u{d}\\u{9b}\\u{202e}");
    }
}
