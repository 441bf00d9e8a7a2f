//! [`ConceptData`] for concepts on disk.

use std::fs;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use seqlora_core::data::{CaptionOptions, ConceptData, Examples};
use seqlora_core::text::next_placeholder;
use seqlora_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::canvas::Canvas;
use super::caption::{caption, prompts};
use super::dataset::Dataset;
use super::source::{ConceptSource, ImageSource};

impl ConceptData for ConceptSource {
    fn id(&self) -> &str {
        &self.id
    }

    fn class_word(&self) -> &str {
        &self.class_word
    }

    fn image_names(&self) -> Vec<String> {
        self.images.iter().map(|image| file_name(&image.path)).collect()
    }

    fn steps(&self) -> Option<usize> {
        self.steps
    }

    fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let text = format!("{:?}|{}|{:?}", self.kind, self.class_word, self.templates);
        hash.update(text.as_bytes());
        for image in &self.images {
            for path in [Some(&image.path), image.mask.as_ref()].into_iter().flatten() {
                let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
                hash.update(Sha256::digest(bytes));
            }
            hash.update(Sha256::digest(image.caption.as_deref().unwrap_or_default()));
        }
        Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    fn check(&self) -> Result<()> {
        let caption = |image: &ImageSource| Some((file_name(&image.path), image.caption.clone()?));
        let template = |template: &String| ("the manifest".to_string(), template.clone());
        let captions = self.images.iter().filter_map(caption);
        for (origin, text) in captions.chain(self.templates.iter().map(template)) {
            let mut rest = text.as_str();
            while let Some((_, id, after)) = next_placeholder(rest) {
                if id != self.id && id != "TOK" {
                    return Err(Error::Prompt(format!(
                        "{origin}: `{text}` names <{id}>, but belongs to the concept `{}`; write {{}} \
                         or <{}> for the concept, and all other words without < >",
                        self.id, self.id
                    )));
                }
                rest = after;
            }
        }
        Ok(())
    }

    fn prompts(&self, options: &CaptionOptions) -> Vec<String> {
        prompts(self, options)
    }

    fn caption(&self, image: usize, options: &CaptionOptions, rng: &mut ChaCha8Rng) -> String {
        caption(self, image, options, rng)
    }

    fn open(&self, size: usize, factor: usize) -> Result<Box<dyn Examples>> {
        Ok(Box::new(Dataset::load(self, Canvas::new(size, factor)?)?))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
