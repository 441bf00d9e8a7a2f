//! Where the small model lies that is trained on the toy world and comes with the source tree.

use std::env;
use std::path::{Path, PathBuf};

use seqlora_models::weights::{ModelError, verify_checksums};

/// What it is called where a model is asked for.
pub const NAME: &str = "builtin";

/// Names another folder for it.
pub const VARIABLE: &str = "SEQLORA_BUILTIN";

/// Why there is no built-in model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuiltinError {
    /// It is in none of its places.
    #[error(
        "the built-in model is not installed; looked for model_index.json in{}\nset {VARIABLE} to its \
         folder (models/toy-world/builtin of the source tree), or take another model",
        list(places)
    )]
    Missing {
        /// Where it was looked for.
        places: Vec<PathBuf>,
    },
    /// A file is damaged.
    #[error(transparent)]
    Damaged(#[from] ModelError),
}

/// The built-in model's folder, checked against its digests.
///
/// It is what the variable says and nothing else; or beside the program, or in the source tree that the
/// program was built from.
///
/// # Errors
/// If it is in none of its places, or a file is damaged.
pub fn folder() -> Result<PathBuf, BuiltinError> {
    let places = places();
    let Some(folder) = places.iter().find(|place| place.join("model_index.json").exists()) else {
        return Err(BuiltinError::Missing { places });
    };
    verify_checksums(folder)?;
    Ok(folder.clone())
}

fn places() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return vec![folder.into()];
    }
    let program = env::current_exe().ok();
    let above = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    let installed = above.map(|folder| folder.join("share/seqlora").join(NAME));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME);
    installed.into_iter().chain([source]).collect()
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| format!("\n  {}", place.display())).collect()
}
