//! The networks of metrics, each loaded once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use seqlora_eval::{Embedder, PromptText, TextEmbedder};
use seqlora_kernels::KernelBackend;
use seqlora_models::vit::{VitConfig, VitModel};
use seqlora_models::weights::encoders::FoundVit;
use seqlora_models::weights::{ModelError, fingerprint};

use super::places::{Places, Source};
use crate::preprocess::{Preprocessing, presets};
use crate::{ClipTextEncoder, DreamSim, VitEncoder};

/// Why a metric cannot be loaded.
#[derive(Debug)]
pub(super) enum Failure {
    Missing(String),
    Model(ModelError),
    Unsuitable(String),
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

/// What metrics are loaded with, and the networks so far.
#[derive(Debug)]
pub(super) struct Loader<'a, B: KernelBackend> {
    places: &'a Places,
    pub(super) prompts: &'a PromptText,
    device: &'a B::Device,
    images: RefCell<BTreeMap<PathBuf, Rc<Embedder<B>>>>,
    texts: RefCell<BTreeMap<PathBuf, Rc<TextEmbedder<B>>>>,
}

impl<'a, B: KernelBackend> Loader<'a, B> {
    pub(super) fn new(places: &'a Places, prompts: &'a PromptText, device: &'a B::Device) -> Self {
        let (images, texts) = Default::default();
        Self { places, prompts, device, images, texts }
    }

    pub(super) fn find(&self, source: &Source) -> Result<PathBuf, Failure> {
        self.places.find(source).ok_or_else(|| Failure::Missing(self.places.missing(source)))
    }

    /// The image encoder of a source, `family` being what reports call it.
    pub(super) fn images(
        &self,
        family: &str,
        source: &Source,
        preprocessing: Preprocessing,
    ) -> Result<Rc<Embedder<B>>, Failure> {
        let path = self.find(source)?;
        if path.to_string_lossy().contains("sat493m") {
            return Err(Failure::Unsuitable(format!(
                "{} was trained on satellite images, which are normalised otherwise",
                path.display()
            )));
        }
        if let Some(embedder) = self.images.borrow().get(&path) {
            return Ok(Rc::clone(embedder));
        }
        let found = FoundVit::find(&path)?;
        let digest = fingerprint(&found.files.shards)?;
        let name = format!("{family} {}", described(&found.config, &path, &digest));
        let model = VitModel::from_found(found, self.device)?;
        let encoder = VitEncoder::new(model, preprocessing);
        let embedder = Rc::new(Embedder::new(name, encoder, self.device));
        self.images.borrow_mut().insert(path, Rc::clone(&embedder));
        Ok(embedder)
    }

    /// The text encoder of a source. Its tokenizer lies beside it, or in `tokenizer`.
    pub(super) fn texts(
        &self,
        source: &Source,
        tokenizer: &Source,
    ) -> Result<Rc<TextEmbedder<B>>, Failure> {
        let path = self.find(source)?;
        if let Some(embedder) = self.texts.borrow().get(&path) {
            return Ok(Rc::clone(embedder));
        }
        let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
        let holds_one = |folder: &&Path| {
            ["tokenizer.json", "vocab.json"].iter().any(|name| folder.join(name).is_file())
        };
        let tokenizer = match folder.filter(holds_one) {
            Some(folder) => folder.to_path_buf(),
            None => self.find(tokenizer)?,
        };
        let encoder = ClipTextEncoder::load(&path, &tokenizer, self.device)?;
        let embedder = Rc::new(TextEmbedder::new(encoder));
        self.texts.borrow_mut().insert(path, Rc::clone(&embedder));
        Ok(embedder)
    }

    /// DreamSim's ensemble.
    pub(super) fn dreamsim(&self, source: &Source) -> Result<Rc<Embedder<B>>, Failure> {
        let path = self.find(source)?;
        let encoder = DreamSim::load_with(&path, presets::DREAMSIM, self.device)?;
        let name = format!("DreamSim's ensemble of {}", path.display());
        Ok(Rc::new(Embedder::new(name, encoder, self.device)))
    }
}

/// "ViT-384/16 of dino-vits16, weights 1a2b3c4d".
fn described(config: &VitConfig, path: &Path, digest: &str) -> String {
    let (width, patch) = (config.hidden_size, config.patch_size);
    let parts = path.iter().rev().map(|part| part.to_string_lossy());
    // A snapshot in Hugging Face's cache is named by a commit; its repository lies above.
    let repository =
        parts.clone().find_map(|part| Some(part.strip_prefix("models--")?.replace("--", "/")));
    let name = repository.unwrap_or_else(|| parts.clone().next().unwrap_or_default().into_owned());
    format!("ViT {width} wide, patches of {patch}, of {name}, weights {}", &digest[..8])
}
