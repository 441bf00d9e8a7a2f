//! `NAME.config.json` next to `NAME.safetensors` or `NAME.ckpt`: what a single file itself does not tell.

use std::path::{Path, PathBuf};

use seqlora_files::parse_object;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::weights::{ModelError, read_config};

/// Keys of diffusers' configs that the shapes of the weights do not determine, or that override what they
/// suggest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sidecar {
    pub(super) unet: Map<String, Value>,
    pub(super) text_encoder: Map<String, Value>,
    pub(super) vae: Map<String, Value>,
    pub(super) scheduler: Map<String, Value>,
}

impl Sidecar {
    /// The config next to a weight file; empty if there is none.
    pub(super) fn of(file: &Path) -> Result<Self, ModelError> {
        let Some(path) = sidecar_of(file) else { return Ok(Self::default()) };
        parse_object(&read_config(&path)?).map_err(|reason| ModelError::config(&path, reason))
    }
}

/// The config next to a weight file, if there is one.
fn sidecar_of(file: &Path) -> Option<PathBuf> {
    Some(file.with_extension("config.json")).filter(|path| path.exists())
}

/// A name for a weight file and the config next to it, to be read by people.
pub(super) fn with_sidecar(file: &Path) -> PathBuf {
    match sidecar_of(file) {
        Some(sidecar) => {
            let sidecar = sidecar.file_name().unwrap_or_default().display();
            format!("{} with {sidecar}", file.display()).into()
        }
        None => file.into(),
    }
}
