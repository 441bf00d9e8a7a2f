//! The concepts of an image: those that `--concept` selects, and those that its prompts name.

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
/// Names the first that is not there or not selected.
pub fn check_prompts(
    prompts: &[&str],
    bank: Option<&Bank>,
    members: &[Member],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let selected = |id: &str| members.iter().any(|member| member.id == id);
    for prompt in prompts {
        let mut named = false;
        let mut rest = *prompt;
        while let Some((_, id, after)) = next_placeholder(rest) {
            if !selected(id) {
                return Err(unknown(id, bank, members));
            }
            (named, rest) = (true, after);
        }
        if let Some(Member { id, .. }) = members.iter().find(|m| !named && has_word(prompt, &m.id))
        {
            terminal.warning(format!(
                "`{id}` in `{prompt}` is read as an ordinary word; write <{id}> for the concept"
            ));
        }
    }
    Ok(())
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

/// Whether an id stands in a text as a word.
fn has_word(text: &str, id: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-".contains(c);
    text.match_indices(id).any(|(start, found)| {
        !text[..start].ends_with(inside) && !text[start + found.len()..].starts_with(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn words_are_whole() {
        assert!(has_word("a cat-00, asleep", "cat-00") && has_word("cat", "cat"));
        for text in ["a cat-001", "concat", "my_cat", "a catalogue"] {
            assert!(!has_word(text, "cat"), "{text}");
        }
    }
}
