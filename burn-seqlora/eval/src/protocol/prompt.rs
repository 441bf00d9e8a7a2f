//! Prompt lists, and what takes the place of the placeholders in them.

/// A protocol that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A setting means nothing.
    #[error("{0}")]
    Invalid(String),
    /// A list of prompts is empty.
    #[error("{list}: there is no prompt")]
    NoPrompts {
        /// Whose list it is.
        list: String,
    },
    /// A prompt lacks a placeholder.
    #[error("{list}, prompt {number}: `{prompt}` lacks {placeholder}")]
    NoPlaceholder {
        /// Whose list it is.
        list: String,
        /// Which of its prompts, counted from 1.
        number: usize,
        /// The prompt.
        prompt: String,
        /// What it lacks.
        placeholder: &'static str,
    },
}

/// Prompts of one list at most.
pub const MOST_PROMPTS: usize = 10_000;

/// Bytes of a prompt at most. Text encoders read 77 tokens of it.
const LONGEST: usize = 65_536;

/// The prompts of a text, one on each line. Blank lines and spaces around prompts do not count: the lists of
/// CustomConcept101 have both.
///
/// # Errors
/// If there is none, or there are too many, or one is too long.
pub fn parse_prompts(list: &str, text: &str) -> Result<Vec<String>, ProtocolError> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let prompts: Vec<String> = lines.filter(|line| !line.is_empty()).map(String::from).collect();
    check_prompts(list, &prompts, &[])?;
    Ok(prompts)
}

/// Checks a list whose prompts must hold all of these placeholders.
pub(super) fn check_prompts(
    list: &str,
    prompts: &[String],
    placeholders: &[&'static str],
) -> Result<(), ProtocolError> {
    let invalid = |reason: String| Err(ProtocolError::Invalid(format!("{list}: {reason}")));
    if prompts.is_empty() {
        return Err(ProtocolError::NoPrompts { list: list.into() });
    }
    if prompts.len() > MOST_PROMPTS {
        return invalid(format!("{} prompts; at most {MOST_PROMPTS} are read", prompts.len()));
    }
    for (number, prompt) in prompts.iter().enumerate() {
        if prompt.len() > LONGEST {
            return invalid(format!("prompt {} has {} bytes", number + 1, prompt.len()));
        }
        if let Some(placeholder) = placeholders.iter().find(|p| !prompt.contains(**p)) {
            let (list, prompt) = (list.into(), prompt.clone());
            return Err(ProtocolError::NoPlaceholder {
                list,
                number: number + 1,
                prompt,
                placeholder,
            });
        }
    }
    Ok(())
}

/// A prompt with words in place of its placeholders: `{}` for one of them, `{0}` and `{1}` for two. An
/// article before a word that begins with a vowel becomes `an`.
pub fn fill(template: &str, words: &[&str]) -> String {
    let placeholders: &[&str] = if words.len() == 1 { &["{}"] } else { &["{0}", "{1}"] };
    placeholders.iter().zip(words).fold(template.to_string(), |text, (placeholder, word)| {
        let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
        let mut filled = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(placeholder) {
            filled.push_str(before);
            let article = |a: &str| before == a || before.ends_with(&format!(" {a}"));
            if vowel && (article("a ") || article("A ")) {
                filled.truncate(filled.len() - 1);
                filled.push_str("n ");
            }
            filled.push_str(word);
            rest = after;
        }
        filled + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_the_quirks_of_customconcept101() {
        let text = "\u{feff}Photo of a {}. \n\n  {} on a beach\u{e9}\n{} at night";
        let prompts = parse_prompts("p.txt", text).unwrap();
        assert_eq!(prompts, ["Photo of a {}.", "{} on a beach\u{e9}", "{} at night"]);
        let error = parse_prompts("p.txt", "\n \n").unwrap_err().to_string();
        assert_eq!(error, "p.txt: there is no prompt");
        let list = ["a {}".to_string(), "photo of a moongate.".into()];
        let error = check_prompts("moongate.txt", &list, &["{}"]).unwrap_err().to_string();
        assert_eq!(error, "moongate.txt, prompt 2: `photo of a moongate.` lacks {}");
        let many = "a {}\n".repeat(MOST_PROMPTS + 1);
        assert!(parse_prompts("p.txt", &many).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn placeholders_are_filled_in_any_order() {
        assert_eq!(fill("{} beside a {}", &["<mug>"]), "<mug> beside a <mug>");
        assert_eq!(fill("the {1} and the {0}.", &["<a>", "<b>"]), "the <b> and the <a>.");
        assert_eq!(fill("A {} near a {}", &["apple"]), "An apple near an apple");
        assert_eq!(fill("a photo of {}", &["umbrella"]), "a photo of umbrella");
        assert_eq!(fill("a sofa {}", &["owl"]), "a sofa owl");
    }
}
