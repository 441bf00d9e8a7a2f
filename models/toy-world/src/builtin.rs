//! The built-in model: a small Stable Diffusion, trained on the toy world, that comes with the
//! source tree.

use std::env;
use std::path::{Path, PathBuf};

use seqlora_models::weights::{ModelError, verify_checksums};

/// Its name wherever a model is given by name or folder.
pub const NAME: &str = "builtin";

/// The environment variable that overrides its folder.
pub const VARIABLE: &str = "SEQLORA_BUILTIN";

/// An error in finding the built-in model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuiltinError {
    /// It is in none of the folders where it is searched for.
    #[error(
        "the built-in model is not installed; looked for model_index.json in{}\nset {VARIABLE} to its \
         folder (models/toy-world/builtin of the source tree), or use another model",
        list(folders)
    )]
    Missing {
        /// The folders that were searched.
        folders: Vec<PathBuf>,
    },
    /// A file is missing or does not match its checksum.
    #[error(transparent)]
    Damaged(#[from] ModelError),
}

/// The folder of the built-in model, after its checksums are verified.
///
/// If [`VARIABLE`] is set, only that folder is used. Otherwise it is `share/seqlora/builtin` next
/// to the program's folder, or the folder in the source tree that the program was built from.
///
/// # Errors
/// If it is in none of these folders, or a file is missing or damaged.
pub fn folder() -> Result<PathBuf, BuiltinError> {
    let folders = candidates();
    let Some(folder) = folders.iter().find(|folder| folder.join("model_index.json").exists())
    else {
        return Err(BuiltinError::Missing { folders });
    };
    verify_checksums(folder)?;
    Ok(folder.clone())
}

fn candidates() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return vec![folder.into()];
    }
    let program = env::current_exe().ok();
    let prefix = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    let installed = prefix.map(|prefix| prefix.join("share/seqlora").join(NAME));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME);
    installed.into_iter().chain([source]).collect()
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| format!("\n  {}", folder.display())).collect()
}
