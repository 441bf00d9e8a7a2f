//! The concepts of an image: those that `--concept` selects, and those that its prompts name.

use std::ops::Range;

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Member, check_members};
use burn_seqlora::error::Error;
use burn_seqlora::text::next_placeholder;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// The concepts that were asked for, or all of the bank; each is there.
///
/// # Errors
/// If one is not in the bank or is given twice, its record is damaged, or its strength is no number.
pub fn members(concepts: &[String], bank: Option<&Bank>) -> Result<Vec<Member>, Failure> {
    let Some(bank) = bank else {
        return match concepts.is_empty() {
            true => Ok(Vec::new()),
            false => Err(Failure::Usage("--concept needs --bank".into())),
        };
    };
    let members = match concepts.is_empty() {
        true => bank.concepts().iter().map(Member::new).collect(),
        false => concepts.iter().map(|text| member(text)).collect::<Result<Vec<_>, _>>()?,
    };
    check_members(bank, &members)?;
    Ok(members)
}

fn member(text: &str) -> Result<Member, Failure> {
    let (id, scale) = text.split_once('=').unwrap_or((text, "1"));
    let scale = scale.parse().ok().filter(|s: &f64| s.is_finite()).ok_or_else(|| {
        Failure::Usage(format!("--concept {text}: `{scale}` is no number; use ID or ID=0.8"))
    })?;
    let id = next_placeholder(id).map_or(id, |(_, id, _)| id);
    Ok(Member { id: id.to_string(), scale })
}

/// Checks that prompts name selected concepts only, and warns of those whose name is written as an
/// ordinary word.
///
/// # Errors
/// Names the first that is not there or not selected, or that is written without brackets and can be nothing else. If
/// a record of the bank is damaged.
pub fn check_prompts(
    prompts: &[&str],
    bank: Option<&Bank>,
    members: &[Member],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let selected = |id: &str| members.iter().any(|member| member.id == id);
    for prompt in prompts {
        let mut named = Vec::new();
        let mut rest = *prompt;
        while let Some((_, id, after)) = next_placeholder(rest) {
            if !selected(id) {
                return Err(unknown(id, bank, members));
            }
            named.push(id);
            rest = after;
        }
        let ids = members.iter().map(|member| member.id.as_str());
        let bare = ids.filter(|id| !named.contains(id) && is_bare(prompt, id));
        let bare: Vec<&str> = bare.collect();
        let records = bank.iter().flat_map(|bank| bare.iter().map(move |id| bank.record(id)));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        check_bare(prompt, records.iter().map(|record| (&*record.id, &*record.class_word)))?;
        // Next to a concept, another one's name probably is meant as a word.
        if let Some(id) = bare.first().filter(|_| named.is_empty()) {
            terminal.warning(format!(
                "`{id}` in `{prompt}` is read as an ordinary word, and the concept is not used; the prompt that uses \
                 it is `{}`",
                in_brackets(prompt, &bare)
            ));
        }
    }
    Ok(())
}

/// Checks that ids of concepts, each with its class, that a prompt holds without brackets may be meant as words.
///
/// # Errors
/// Names the first that can be none.
pub fn check_bare<'a>(
    prompt: &str,
    concepts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Failure> {
    let concepts = concepts.into_iter();
    let unusual = concepts.filter(|(id, class)| is_bare(prompt, id) && !is_ordinary(id, class));
    let unusual: Vec<&str> = unusual.map(|(id, _)| id).collect();
    match unusual.first() {
        None => Ok(()),
        Some(id) => Err(Failure::Usage(format!(
            "`{id}` in `{prompt}` is a concept without its brackets, of which nothing would be drawn; write `{}`",
            in_brackets(prompt, &unusual)
        ))),
    }
}

/// Whether an id may be meant as a word: `dog` and `1`, but not `dog-1`, unless the class is called so (`t-shirt`).
fn is_ordinary(id: &str, class_word: &str) -> bool {
    let is_unusual = |c: char| c.is_ascii_digit() || "_-".contains(c);
    let is_number = id.chars().all(|c| c.is_ascii_digit());
    is_number || !id.contains(is_unusual) || class_word.to_lowercase().contains(&id.to_lowercase())
}

fn unknown(id: &str, bank: Option<&Bank>, members: &[Member]) -> Failure {
    if bank.is_some_and(|bank| bank.contains(id)) {
        return Failure::Usage(format!(
            "<{id}> is in the bank, but not among the concepts that --concept selects; add \
             --concept {id}"
        ));
    }
    Error::unknown_concept(id, members.iter().map(|member| member.id.as_str())).into()
}

/// Whether an id stands in a text without its brackets, or with one of them, or with spaces within them.
fn is_bare(text: &str, id: &str) -> bool {
    places(text, id).any(|place| text[place] != format!("<{id}>"))
}

/// Where an id stands in a text as a word, in capitals or small letters, with the brackets beside it.
fn places(text: &str, id: &str) -> impl Iterator<Item = Range<usize>> {
    let [lower, lower_id] = [text, id].map(str::to_ascii_lowercase);
    let starts: Vec<usize> = lower.match_indices(&lower_id).map(|(start, _)| start).collect();
    let place = move |start: usize| {
        let (before, after) = (&text[..start], &text[start + id.len()..]);
        let is_word = !goes_on(before.chars().rev()) && !goes_on(after.chars());
        let left = before.trim_end().strip_suffix('<').map_or(before.len(), str::len);
        let right = after.trim_start().strip_prefix('>').map_or(after.len(), str::len);
        is_word.then_some(left..text.len() - right)
    };
    starts.into_iter().filter_map(place)
}

/// Whether a word goes on with these characters; a dot belongs to it if it is not the end of a sentence.
fn goes_on(mut beside: impl Iterator<Item = char>) -> bool {
    match beside.next() {
        Some('.') => beside.next().is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric() || "_-".contains(c),
        None => false,
    }
}

/// A text with concepts' names in brackets.
fn in_brackets(text: &str, ids: &[&str]) -> String {
    let mut text = text.to_string();
    for id in ids {
        let found: Vec<Range<usize>> = places(&text, id).collect();
        // From the end, so that the places before stay.
        for place in found.into_iter().rev() {
            text.replace_range(place, &format!("<{id}>"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let has = |text, id| places(text, id).next().is_some();
        for (text, id) in [
            ("a cat-00, asleep", "cat-00"),
            ("cat", "cat"),
            ("a cat.", "cat"),
            ("(cat:1.2)", "cat"),
        ] {
            assert!(has(text, id), "{text}");
        }
        for text in ["a cat-001", "concat", "my_cat", "a catalogue", "cat.5", "v.cat"] {
            assert!(!has(text, "cat"), "{text}");
        }
    }

    #[test]
    fn the_prompt_that_uses_concepts() {
        let prompt = "a cat-00 and a cat, two cats, cat-00.";
        assert_eq!(in_brackets(prompt, &["cat-00"]), "a <cat-00> and a cat, two cats, <cat-00>.");
        let both = "a <cat-00> and a <cat>, two cats, <cat-00>.";
        assert_eq!(in_brackets(prompt, &["cat", "cat-00"]), both);
        assert_eq!(in_brackets(prompt, &["cat-00", "cat"]), both);
    }

    /// Half of the brackets, spaces in them, and capitals are mistakes.
    #[test]
    fn brackets_are_whole() {
        assert!(!is_bare("a <dog6>, (<dog6>:1.2)", "dog6"));
        for text in ["a <dog6", "a dog6>", "a < dog6 >", "Dog6."] {
            assert!(is_bare(text, "dog6"), "{text}");
            assert!(in_brackets(text, &["dog6"]).contains("<dog6>"), "{text}");
            assert!(!in_brackets(text, &["dog6"]).contains("<<"), "{text}");
        }
    }

    #[test]
    fn unusual_ids_are_no_words_unless_the_class_is_called_so() {
        assert!(is_ordinary("dog", "animal") && is_ordinary("t-shirt", "red T-shirt"));
        for id in ["dog-1", "dog6", "my_dog"] {
            assert!(!is_ordinary(id, "dog"), "{id}");
        }
    }
}
