//! A Rust file as its tokens and strings, without comments and without what only tests compile.

/// The parts of a file that the rules look at.
#[derive(Debug, Default, PartialEq)]
pub struct Source {
    /// Names, `::` and single punctuation marks, in order.
    pub tokens: Vec<String>,
    /// The contents of string literals, with escapes as written.
    pub strings: Vec<String>,
    /// Modules in files of their own that only tests compile.
    pub test_modules: Vec<String>,
}

/// A token, or the contents of a string.
#[derive(Debug, Clone, PartialEq)]
enum Lexeme {
    Token(String),
    Text(String),
}

impl Source {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Self {
        let lexemes = lex(text);
        let mut source = Self::default();
        let mut at = 0;
        while at < lexemes.len() {
            if let Some(end) = test_attribute(&lexemes[at..]) {
                let item = at + end;
                at = item + item_length(&lexemes[item..]);
                if let [module, Lexeme::Token(name), _] = &lexemes[item..at]
                    && is(module, "mod")
                {
                    source.test_modules.push(name.clone());
                }
                continue;
            }
            match &lexemes[at] {
                Lexeme::Token(token) => source.tokens.push(token.clone()),
                Lexeme::Text(text) => source.strings.push(text.clone()),
            }
            at += 1;
        }
        source
    }
}

/// Whether a text names an option such as `--resume`.
pub fn names_a_flag(text: &str) -> bool {
    text.match_indices("--").any(|(at, _)| {
        !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-')
            && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    })
}

fn is(lexeme: &Lexeme, token: &str) -> bool {
    matches!(lexeme, Lexeme::Token(text) if text == token)
}

fn lex(text: &str) -> Vec<Lexeme> {
    let (mut rest, mut lexemes) = (text, Vec::new());
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((text, length)) = string(rest) {
            lexemes.push(Lexeme::Text(text.into()));
            length
        } else if let Some(length) = character(rest) {
            length
        } else {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            let length = match rest.find(|c| !name(c)).unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            if !first.is_whitespace() {
                lexemes.push(Lexeme::Token(rest[..length].into()));
            }
            length
        };
        rest = &rest[length..];
    }
    lexemes
}

/// The contents of the string literal that a text starts with, and its length.
fn string(text: &str) -> Option<(&str, usize)> {
    if let Some(body) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = body.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        return Some((&body[..end], end + 2));
    }
    let body = text.strip_prefix('r')?.trim_start_matches('#').strip_prefix('"')?;
    let hashes = text.len() - body.len() - 2;
    let end = body.find(&format!("\"{}", "#".repeat(hashes)))?;
    Some((&body[..end], 2 * hashes + end + 3))
}

/// The length of the character literal that a text starts with; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let first = body.chars().next()?;
    match first {
        '\\' => body[2..].find('\'').map(|end| end + 4),
        _ => body[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2),
    }
}

/// The length of a `#[cfg(test)]`, or of another `cfg` that needs `test`.
fn test_attribute(lexemes: &[Lexeme]) -> Option<usize> {
    let starts = ["#", "[", "cfg"].iter().zip(lexemes).filter(|(token, at)| is(at, token)).count();
    let end = lexemes.iter().position(|lexeme| is(lexeme, "]"))? + 1;
    let has = |token| lexemes[..end].iter().any(|lexeme| is(lexeme, token));
    (starts == 3 && has("test") && !has("not")).then_some(end)
}

/// The length of an item with its other attributes: up to its `;`, or the end of its block.
fn item_length(lexemes: &[Lexeme]) -> usize {
    let mut depth = 0;
    for (at, lexeme) in lexemes.iter().enumerate() {
        let Lexeme::Token(token) = lexeme else { continue };
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && [";", "}"].contains(&token.as_str()) {
            return at + 1;
        }
    }
    lexemes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_left_out() {
        let text = r##"
            // use crate::a;
            use crate::b; /* "--c" */
            const D: (&str, char, char) = ("say \"--e\"", '"', '\'');
            fn f<'a>() { g(r#"a "raw" one"#) }
            #[cfg(test)]
            mod fixtures;
            #[cfg(all(test, feature = "cpu"))]
            mod tests { use crate::h; fn i() { "}" } }
            fn j() {}
        "##;
        let source = Source::parse(text);
        assert_eq!(source.tokens[..5], ["use", "crate", "::", "b", ";"]);
        assert_eq!(source.strings, [r#"say \"--e\""#, r#"a "raw" one"#]);
        assert_eq!(source.test_modules, ["fixtures"]);
        for (name, expected) in [("a", 1), ("h", 0), ("i", 0), ("j", 1)] {
            let count = source.tokens.iter().filter(|token| *token == name).count();
            assert_eq!(count, expected, "{name}");
        }
    }

    #[test]
    fn options_are_told_from_dashes() {
        for text in ["--resume goes on", "use `--id`", "see --a-b"] {
            assert!(names_a_flag(text), "{text}");
        }
        for text in ["a -- b", "a--b", "---", "--1", "-- x"] {
            assert!(!names_a_flag(text), "{text}");
        }
    }
}
