//! [`ConceptData`] for concepts on disk.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use seqlora_core::data::{CaptionOptions, ConceptData, Examination, Examples};
use seqlora_core::text::next_placeholder;
use seqlora_core::{Error, Flow, Result};

use super::canvas::Canvas;
use super::caption::{caption, prompts};
use super::dataset::Dataset;
use super::examine::examine;
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

    fn class_images(&self) -> Option<&dyn ConceptData> {
        Some(self.class_images.as_deref()?)
    }

    fn examine(&self, progress: &mut dyn FnMut(usize) -> Flow) -> Result<Examination> {
        examine(self, progress)
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
        self.class_images.as_ref().map_or(Ok(()), |class| class.check())
    }

    fn prompts(&self, options: &CaptionOptions) -> Vec<String> {
        prompts(self, options)
    }

    fn caption(&self, image: usize, options: &CaptionOptions, rng: &mut ChaCha8Rng) -> String {
        caption(self, image, options, rng)
    }

    fn open(&self, size: usize, factor: usize) -> Result<Box<dyn Examples + '_>> {
        Ok(Box::new(Dataset::new(self, Canvas::new(size, factor)?)))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
