//! Weights in prompts, as A1111's web interface writes them.
//!
//! | written | weight of `word` |
//! |---|---|
//! | `(word)` | 1.1 |
//! | `[word]` | 1 / 1.1 |
//! | `(word:1.3)` | 1.3 |
//!
//! Brackets inside each other multiply. `\(`, `\)`, `\[`, `\]` and `\\` stand for the characters
//! themselves, and `BREAK`, as a word of its own, ends a chunk of tokens. What A1111 would read as
//! something else than it looks like, or in a way that is not implemented here, is an error.

use crate::error::{Error, Result};

/// What `(…)` multiplies a weight with, and `[…]` divides it by.
const STEP: f64 = 1.1;

/// The largest weight, in either direction. No image survives more, and `(at 12:30)` is a time.
const LARGEST: f64 = 10.0;

/// Brackets inside each other.
const DEEPEST: usize = 64;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text, without escapes, and its weight.
    Text(String, f64),
    /// The end of a chunk.
    Break,
}

/// Reads a prompt with weights. Neighbours of one weight are one part.
///
/// # Errors
/// [`Error::Prompt`] if a bracket has no partner, a weight is no number or too large, a `\` escapes
/// nothing, or the prompt has A1111's `[from:to:when]`, `[one|other]` or `AND`.
pub fn parse_weights(prompt: &str) -> Result<Vec<Part>> {
    let mut reader = Reader::default();
    let mut rest = prompt;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => reader.escape(rest)?,
            '(' | '[' => reader.open(c, rest)?,
            ')' | ']' => reader.close(c, rest)?,
            ':' => reader.colon(rest)?,
            '|' if reader.innermost() == Some('[') => {
                return Err(unsupported(rest, "`[one|other]`, which takes turns"));
            }
            _ => reader.text(c),
        };
        rest = &rest[length..];
    }
    reader.finish(prompt)
}

/// The prompt's text without weights and escapes, with spaces for breaks.
pub fn without_weights(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text, _) => text.clone(),
        Part::Break => " ".into(),
    };
    parts.iter().map(text).collect()
}

/// What has been read.
#[derive(Default)]
struct Reader {
    texts: Vec<(String, f64)>,
    /// The brackets that are open: which, and how many texts were there before.
    brackets: Vec<(char, usize)>,
    /// Whether the next character begins a text, because a bracket came before it.
    cut: bool,
}

impl Reader {
    fn innermost(&self) -> Option<char> {
        self.brackets.last().map(|(bracket, _)| *bracket)
    }

    fn text(&mut self, c: char) -> usize {
        match self.texts.last_mut().filter(|_| !self.cut) {
            Some((text, _)) => text.push(c),
            None => self.texts.push((c.into(), 1.0)),
        }
        self.cut = false;
        c.len_utf8()
    }

    fn escape(&mut self, rest: &str) -> Result<usize> {
        match rest[1..].chars().next() {
            Some(c @ ('(' | ')' | '[' | ']' | '\\')) => Ok(1 + self.text(c)),
            _ => Err(wrong(rest, r"`\` may stand before ( ) [ ] and \ only; write `\\` for `\`")),
        }
    }

    fn open(&mut self, bracket: char, rest: &str) -> Result<usize> {
        if self.brackets.len() == DEEPEST {
            return Err(wrong(rest, &format!("more than {DEEPEST} brackets inside each other")));
        }
        self.brackets.push((bracket, self.texts.len()));
        self.cut = true;
        Ok(1)
    }

    fn close(&mut self, bracket: char, rest: &str) -> Result<usize> {
        let (opening, factor) = if bracket == ')' { ('(', STEP) } else { ('[', 1.0 / STEP) };
        if self.innermost() != Some(opening) {
            return Err(wrong(rest, &format!("`{bracket}` closes no bracket; {ESCAPE}")));
        }
        self.weigh(factor);
        Ok(1)
    }

    /// Multiplies the weights of what the innermost bracket holds, which is closed.
    fn weigh(&mut self, factor: f64) {
        let (_, from) = self.brackets.pop().expect("a bracket is open");
        self.texts[from..].iter_mut().for_each(|(_, weight)| *weight *= factor);
        self.cut = true;
    }

    /// A colon is text, unless a number and the end of a bracket follow it.
    fn colon(&mut self, rest: &str) -> Result<usize> {
        let Some(end) = rest.find(['(', ')', '[', ']', '\\']) else { return Ok(self.text(':')) };
        let value = rest[1..end].trim();
        match (self.innermost(), &rest[end..=end]) {
            (Some('('), ")") => match weight(value) {
                Some(weight) if weight.abs() <= LARGEST => {
                    self.weigh(weight);
                    Ok(end + 1)
                }
                Some(weight) => {
                    let text = format!("the weight {weight} is not from -{LARGEST} to {LARGEST}");
                    Err(wrong(rest, &format!("{text}; {ESCAPE}")))
                }
                None if looks_like_weight(value) => {
                    let text = format!("`{value}` is no weight like 1.2");
                    Err(wrong(rest, &format!("{text}; {ESCAPE}")))
                }
                None => Ok(self.text(':')),
            },
            (Some('['), "]") if value.parse::<f64>().is_ok() => {
                Err(unsupported(rest, "`[from:to:when]`, which changes the prompt between steps"))
            }
            _ => Ok(self.text(':')),
        }
    }

    fn finish(self, prompt: &str) -> Result<Vec<Part>> {
        if let Some((bracket, _)) = self.brackets.last() {
            return Err(wrong(prompt, &format!("`{bracket}` is never closed; {ESCAPE}")));
        }
        let mut merged: Vec<(String, f64)> = Vec::new();
        for (text, weight) in self.texts {
            if weight.abs() > LARGEST {
                let text = format!("its brackets give `{text}` the weight {weight:.1}");
                return Err(wrong(prompt, &format!("{text}; the largest is {LARGEST}")));
            }
            match merged.last_mut().filter(|(_, last)| *last == weight) {
                Some((last, _)) => last.push_str(&text),
                None => merged.push((text, weight)),
            }
        }
        if merged.iter().any(|(text, _)| word(text, "AND").is_some()) {
            return Err(unsupported(prompt, "`AND` between prompts; as a word, write `and`"));
        }
        Ok(merged.into_iter().flat_map(|(text, weight)| breaks(text, weight)).collect())
    }
}

/// The number that a weight is written as: digits and a point, perhaps with a sign.
fn weight(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

/// Whether something that is no weight was probably meant to be one: nothing, or one word that begins
/// like a number.
fn looks_like_weight(text: &str) -> bool {
    let number = |c: char| c.is_ascii_digit() || "+-.,".contains(c);
    text.is_empty() || (text.starts_with(number) && !text.contains(char::is_whitespace))
}

/// A text at its `BREAK`s, without the white space around them.
fn breaks(text: String, weight: f64) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = word(rest, "BREAK") {
        parts.push(Part::Text(rest[..at].trim_end().into(), weight));
        parts.push(Part::Break);
        rest = rest[at + "BREAK".len()..].trim_start();
    }
    parts.push(Part::Text(rest.into(), weight));
    parts.retain(|part| !matches!(part, Part::Text(text, _) if text.is_empty()));
    parts
}

/// Where a word begins that stands by itself.
fn word(text: &str, word: &str) -> Option<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |(at, _): &(usize, &str)| {
        !text[..*at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    };
    text.match_indices(word).find(alone).map(|(at, _)| at)
}

const ESCAPE: &str = r"write `\(`, `\)`, `\[` or `\]` for brackets that are part of the text";

/// The start of what is wrong, and why.
fn wrong(rest: &str, reason: &str) -> Error {
    let mut start: String = rest.chars().take(30).collect();
    if start.len() < rest.len() {
        start.push('…');
    }
    Error::Prompt(format!("at `{start}` in the prompt: {reason}"))
}

fn unsupported(rest: &str, what: &str) -> Error {
    wrong(rest, &format!("A1111's {what}, is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(prompt: &str) -> Vec<(String, f64)> {
        let part = |part| match part {
            Part::Text(text, weight) => (text, weight),
            Part::Break => ("BREAK".into(), -1.0),
        };
        parse_weights(prompt).unwrap().into_iter().map(part).collect()
    }

    /// Reference: the parser of A1111's web interface 1.10, `modules/prompt_parser.py`.
    #[test]
    fn weights_of_a1111() {
        let cases: &[(&str, &[(&str, f64)])] = &[
            ("normal text", &[("normal text", 1.0)]),
            ("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
            (r"\(literal\]", &[("(literal]", 1.0)]),
            ("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]),
            (
                "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).)",
                &[
                    ("a ", 1.0),
                    ("house", 1.5730000000000004),
                    (" ", 1.1),
                    ("on", 1.0),
                    (" a ", 1.1),
                    ("hill", 0.55),
                    (", sun, ", 1.1),
                    ("sky", 1.4641000000000006),
                    (".", 1.1),
                ],
            ),
            ("(x : 1.5 )", &[("x ", 1.5)]),
            ("(x:-0.5)(y:+.5)", &[("x", -0.5), ("y", 0.5)]),
            ("(x:1.0)", &[("x", 1.0)]),
            ("a (x:1.0) b", &[("a x b", 1.0)]),
            ("at 12:30, 1|2", &[("at 12:30, 1|2", 1.0)]),
            ("(scale: two thirds)", &[("scale: two thirds", 1.1)]),
            ("(<dog6>:1.2) [<mug>]", &[("<dog6>", 1.2), (" ", 1.0), ("<mug>", 1.0 / 1.1)]),
            (r"a \\ b", &[(r"a \ b", 1.0)]),
            ("", &[]),
            ("()[]", &[]),
        ];
        for (prompt, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(t, w)| (t.to_string(), *w)).collect();
            assert_eq!(parsed(prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn breaks_are_words_in_capitals() {
        let shown = |prompt| parsed(prompt).into_iter().map(|(t, w)| format!("{t}:{w}"));
        let shown = |prompt| shown(prompt).collect::<Vec<_>>().join("|");
        assert_eq!(shown("a dog  BREAK\n a cat"), "a dog:1|BREAK:-1|a cat:1");
        assert_eq!(shown("BREAK BREAK x"), "BREAK:-1|BREAK:-1|x:1");
        assert_eq!(shown("(a BREAK b:2)"), "a:2|BREAK:-1|b:2");
        assert_eq!(shown("BREAKFAST, break, UNBREAK"), "BREAKFAST, break, UNBREAK:1");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (prompt, expected) in [
            ("a (dog", "`(` is never closed"),
            ("a [dog", "`[` is never closed"),
            ("a dog)", "`)` closes no bracket"),
            ("(a dog]", "`]` closes no bracket"),
            ("(dog:1,2)", "`1,2` is no weight like 1.2"),
            ("(dog:1.2.3)", "`1.2.3` is no weight"),
            ("(dog:)", "`` is no weight"),
            ("(dog:1.2x)", "`1.2x` is no weight"),
            ("(at 12:30)", "the weight 30 is not from -10 to 10"),
            ("((((((((((((((((((((((((((dog))))))))))))))))))))))))))", "the weight 11.9"),
            (r"dog \d", r"`\` may stand before"),
            (r"dog \", r"`\` may stand before"),
            ("[cat:dog:0.5]", "`[from:to:when]`"),
            ("[dog:0.5]", "`[from:to:when]`"),
            ("[cat|dog]", "`[one|other]`"),
            ("a cat AND a dog", "`AND` between prompts"),
        ] {
            let error = parse_weights(prompt).unwrap_err().to_string();
            assert!(error.contains(expected), "{prompt}: {error}");
        }
        let deep = "[".repeat(65);
        assert!(parse_weights(&deep).unwrap_err().to_string().contains("more than 64 brackets"));
    }

    #[test]
    fn text_without_weights() {
        let parts = parse_weights(r"a (red:1.2) [dog] \(x\) BREAK on grass").unwrap();
        assert_eq!(without_weights(&parts), "a red dog (x) on grass");
    }
}
