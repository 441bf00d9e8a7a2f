//! `seqlora inspect` of an adapter in another tool's format.

use std::collections::{BTreeMap, BTreeSet};

use burn_seqlora::bank::formats::{AdapterFormat, ForeignAdapter, Module, Source};
use serde::Serialize;
use serde_json::json;

use super::incomplete;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Metadata that are too long to be read; JSON has them whole.
const LONGEST: usize = 100;

/// Shows what an adapter holds, without a model.
pub fn run(format: &dyn AdapterFormat, source: Source, terminal: &Terminal) -> Result<(), Failure> {
    let adapter = format.read(source)?;
    incomplete::warn(&adapter, terminal);
    let summary = Summary::new(format, &adapter);
    terminal.result(&json!(summary), || summary.text())
}

#[derive(Serialize)]
struct Summary<'a> {
    path: String,
    format: &'static str,
    /// Which models have layers of these sizes.
    base_model: Option<&'static str>,
    modules: Vec<ModuleLine<'a>>,
    words: Vec<WordLine<'a>>,
    /// Those that it lists and does not have.
    missing: &'a [String],
    /// Whether its tensors are not those that it has the digest of.
    is_changed: bool,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct ModuleLine<'a> {
    name: &'a str,
    rank: usize,
    alpha: f64,
    /// Whether the file says it; if not, it is the rank, as every tool has it.
    alpha_is_stated: bool,
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
}

#[derive(Serialize)]
struct WordLine<'a> {
    word: &'a str,
    embeddings: usize,
    width: usize,
}

impl<'a> Summary<'a> {
    fn new(format: &dyn AdapterFormat, adapter: &'a ForeignAdapter) -> Self {
        let module = |(name, module): (&'a String, &Module)| ModuleLine {
            name,
            rank: module.rank,
            alpha: module.alpha(),
            alpha_is_stated: module.scale_is_stated,
            inputs: module.down.len() / module.rank,
            outputs: module.up.len() / module.rank,
            kernel: module.kernel,
        };
        let word = |(word, ([embeddings, width], _)): (&'a String, &([usize; 2], Vec<f32>))| {
            WordLine { word, embeddings: *embeddings, width: *width }
        };
        let modules: Vec<ModuleLine> = adapter.modules.iter().map(module).collect();
        Self {
            path: adapter.path.to_string_lossy().into_owned(),
            format: format.name(),
            base_model: base_model(&modules),
            modules,
            words: adapter.words.iter().map(word).collect(),
            missing: &adapter.missing,
            is_changed: adapter.is_changed,
            metadata: &adapter.metadata,
        }
    }

    fn text(&self) -> String {
        let convolutions = self.modules.iter().filter(|module| module.kernel != [1, 1]).count();
        let alpha = range(self.modules.iter().map(|module| module.alpha));
        let stated = self.modules.iter().filter(|module| module.alpha_is_stated).count();
        let alpha = match self.modules.len() - stated {
            0 => alpha,
            silent => format!("{alpha} ({silent} modules say none, which means the rank)"),
        };
        let mut lines = vec![
            ("format", self.format.to_string()),
            ("base model", self.base_model.unwrap_or("its layers do not tell").to_string()),
            ("modules", self.modules.len().to_string()),
            ("rank", range(self.modules.iter().map(|module| module.rank as f64))),
            ("alpha", alpha),
        ];
        if convolutions > 0 {
            lines.push(("convolutions", convolutions.to_string()));
        }
        for WordLine { word, embeddings, .. } in &self.words {
            lines.push(("word", format!("{word} ({embeddings} embeddings)")));
        }
        let lines = lines.into_iter().map(|(name, text)| vec![name.to_string(), text]);
        let metadata = self.metadata.iter().map(|(key, text)| vec![key.clone(), shortened(text)]);
        table(&lines.chain(metadata).collect::<Vec<_>>())
    }
}

/// Keys of cross-attention are as wide as the states of prompts.
fn base_model(modules: &[ModuleLine]) -> Option<&'static str> {
    let keys = modules.iter().find(|m| m.name.contains("attn2") && m.name.ends_with("to_k"))?;
    match keys.inputs {
        768 => Some("Stable Diffusion 1.x, by its layers"),
        1024 => Some("Stable Diffusion 2.x, by its layers"),
        2048 => Some("Stable Diffusion XL, by its layers"),
        _ => None,
    }
}

/// The different values, or the least and the greatest of many.
fn range(values: impl Iterator<Item = f64>) -> String {
    let values: BTreeSet<u64> = values.map(f64::to_bits).collect();
    let mut values: Vec<f64> = values.into_iter().map(f64::from_bits).collect();
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => "none".into(),
        [least, .., greatest] if values.len() > 4 => format!("{least} to {greatest}"),
        _ => values.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
