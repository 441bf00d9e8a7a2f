//! What was written, for people and machines.

use std::path::Path;

use burn_seqlora::bank::formats::AdapterFormat;
use burn_seqlora::bank::{ExportedAdapter, WordEmbeddings};
use serde::Serialize;

use super::pack::Pack;

#[derive(Serialize)]
pub struct AdapterLine {
    pub format: &'static str,
    pub name: String,
    pub concepts: Vec<String>,
    pub path: String,
    /// The config next to a model in one file, if the file needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<String>,
    pub modules: usize,
    pub matched: usize,
    pub relative_error: f64,
}

impl AdapterLine {
    pub fn new(format: &dyn AdapterFormat, pack: &Pack, exported: ExportedAdapter) -> Self {
        let ExportedAdapter { path, modules, error } = exported;
        Self {
            format: format.name(),
            name: pack.name.clone(),
            concepts: pack.members.iter().map(|member| member.id.clone()).collect(),
            path: path.to_string_lossy().into_owned(),
            sidecar: None,
            modules,
            // Anything else is an error.
            matched: modules,
            relative_error: error,
        }
    }

    /// A whole model.
    pub fn merged(
        format: &'static str,
        pack: &Pack,
        path: &Path,
        layers: usize,
        error: f64,
    ) -> Self {
        Self {
            format,
            name: pack.name.clone(),
            concepts: pack.members.iter().map(|member| member.id.clone()).collect(),
            path: path.to_string_lossy().into_owned(),
            sidecar: None,
            modules: layers,
            matched: layers,
            relative_error: error,
        }
    }

    pub fn with_sidecar(self, sidecar: Option<&Path>) -> Self {
        Self { sidecar: sidecar.map(|path| path.to_string_lossy().into_owned()), ..self }
    }

    /// The file or folder, with what belongs to it.
    pub fn place(&self) -> String {
        match &self.sidecar {
            Some(sidecar) => format!("{} with {sidecar}", self.path),
            None => self.path.clone(),
        }
    }
}

#[derive(Serialize)]
pub struct WordLine {
    pub id: String,
    pub path: String,
    pub words: usize,
    pub embeddings_per_word: usize,
    pub relative_error: f64,
}

impl WordLine {
    pub fn new(id: &str, path: &Path, words: &WordEmbeddings) -> Self {
        Self {
            id: id.into(),
            path: path.to_string_lossy().into_owned(),
            words: words.embeddings.0[0],
            embeddings_per_word: words.embeddings_per_word,
            relative_error: words.error,
        }
    }
}
