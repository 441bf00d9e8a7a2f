//! Files of prompts, the same for every command.

use std::path::Path;

use burn_seqlora::files::read_text;

use crate::failure::Failure;

/// The prompts of a file, one on each line. Empty lines and those that begin with `#` are none.
///
/// # Errors
/// If it cannot be read or holds no prompt, or a prompt holds options as kohya's files have them.
pub fn read(option: &str, file: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(file).map_err(Failure::usage)?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let prompts: Vec<String> = lines.map(String::from).collect();
    if prompts.is_empty() {
        return Err(Failure::Usage(format!("{option}: {} holds no prompt", file.display())));
    }
    prompts.iter().try_for_each(|prompt| check(prompt))?;
    Ok(prompts)
}

/// Checks that a prompt holds no options as kohya's files have them, e.g. `--n` with what is not wanted.
///
/// # Errors
/// Names the prompt.
pub fn check(prompt: &str) -> Result<(), Failure> {
    let is_option = |word: &str| {
        word.strip_prefix("--").is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
    };
    match prompt.split_whitespace().any(is_option) {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "`{prompt}`: options in the line of a prompt are not read; those of the command are for all prompts"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_prompts_and_options_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.txt");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read("--prompts", &file).map_err(|failure| failure.to_string())
        };
        assert_eq!(
            read("\u{feff}a dog\n\n # not this\na ---- b\n").unwrap(),
            ["a dog", "a ---- b"]
        );
        assert!(read("# nothing\n").unwrap_err().contains("holds no prompt"));
        let refused = read("a dog\t--n low quality --w 512").unwrap_err();
        assert!(refused.contains("low quality") && refused.contains("options"), "{refused}");
    }
}
