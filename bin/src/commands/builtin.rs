//! The built-in model: its folder, its guidance and its vocabulary.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use burn_seqlora::toy_world::world::{Class, unknown_words, vocabulary};
use burn_seqlora::toy_world::{builtin, pretrain};

use crate::args::Model;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Whether `--model` names the built-in model. A folder of that name is given as `./builtin`.
pub fn is_meant(model: &Path) -> bool {
    model == Path::new(builtin::NAME)
}

/// Whether it is the base model of a command that needs none.
pub fn is_chosen(model: Option<&Model>) -> bool {
    model.is_some_and(|model| is_meant(&model.model))
}

/// The default scale of classifier-free guidance for a model.
pub fn usual_guidance(model: &Path) -> f64 {
    if is_meant(model) { pretrain::GUIDANCE } else { 7.5 }
}

/// The folder of the model that `--model` names.
pub fn resolve(model: &Path) -> Result<Cow<'_, Path>, Failure> {
    if is_meant(model) { Ok(Cow::Owned(builtin::folder()?)) } else { Ok(Cow::Borrowed(model)) }
}

/// Prompts about classes of the toy world of which no concept is.
pub fn unrelated(classes: &[&str]) -> Vec<String> {
    let free = Class::ALL.map(Class::word).into_iter().filter(|word| !classes.contains(word));
    let prompt = |(number, word): (usize, &str)| {
        if number.is_multiple_of(2) {
            format!("a photo of a {word}")
        } else {
            format!("a {word} on grass")
        }
    };
    let prompts: Vec<String> = free.enumerate().map(prompt).take(6).collect();
    if prompts.is_empty() { vec!["grass".into(), "snow".into()] } else { prompts }
}

/// Warns of words that are not in the built-in model's vocabulary, if that model is used.
pub fn warn_of_words<'a>(
    model: &Path,
    texts: impl IntoIterator<Item = &'a str>,
    terminal: &Terminal,
) {
    if !is_meant(model) {
        return;
    }
    let words: BTreeSet<String> = texts.into_iter().flat_map(unknown_words).collect();
    if !words.is_empty() {
        let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
        terminal.warning(format!(
            "the built-in model does not know {}; its vocabulary has {} words",
            words.join(", "),
            vocabulary().len()
        ));
    }
}
