//! The small model that comes with the program: where it lies, and what it knows.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use seqlora_models::pretrain;
use seqlora_models::weights::verify_checksums;
use seqlora_models::world::{unknown_words, vocabulary};

use crate::failure::Failure;
use crate::terminal::Terminal;

/// What `--model` calls it.
pub const NAME: &str = "builtin";

/// Names another folder for it.
const VARIABLE: &str = "SEQLORA_BUILTIN";

/// Whether `--model` asks for it. A folder of this name is `./builtin`.
pub fn is_meant(model: &Path) -> bool {
    model == Path::new(NAME)
}

/// The guidance of pictures that do not ask for another.
pub fn usual_guidance(model: &Path) -> f64 {
    if is_meant(model) { pretrain::GUIDANCE } else { 7.5 }
}

/// The folder that `--model` means.
pub fn resolve(model: &Path) -> Result<Cow<'_, Path>, Failure> {
    if is_meant(model) { builtin_folder().map(Cow::Owned) } else { Ok(Cow::Borrowed(model)) }
}

/// The built-in model's folder, checked against its digests.
///
/// # Errors
/// If it is in none of its places, or a file is damaged.
pub fn builtin_folder() -> Result<PathBuf, Failure> {
    let places = places();
    let Some(folder) = places.iter().find(|place| place.join("model_index.json").exists()) else {
        let places: Vec<_> =
            places.iter().map(|place| format!("\n  {}", place.display())).collect();
        let text = format!(
            "the built-in model is not installed; looked for model_index.json in{}\n\
             set {VARIABLE} to its folder (models/builtin of the source tree), or give another model",
            places.concat()
        );
        return Err(Failure::Failed(text.into()));
    };
    verify_checksums(folder)?;
    Ok(folder.clone())
}

/// Where it may lie: what the variable says and nowhere else; or beside the program, or in the source
/// tree that the program was built from.
fn places() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return vec![folder.into()];
    }
    let program = env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    let installed = beside.map(|folder| folder.join("share/seqlora").join(NAME));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(NAME);
    installed.into_iter().chain([source]).collect()
}

/// Warns of words that the built-in model has never read, if it is the one that is used.
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
            "the built-in model does not know {}; it knows {} words of its own small world",
            words.join(", "),
            vocabulary().len()
        ));
    }
}
