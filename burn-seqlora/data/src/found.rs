//! Concepts as the readers of the layouts find them, before they are completed and checked.

use std::path::{Path, PathBuf};

use super::error::DataError;
use super::kind::ConceptKind;
use super::layout::DataLayout;
use super::limits;
use super::names;
use super::source::{ConceptSource, ImageSource, Skipped};

/// A concept as the reader of one layout found it, before [`check`](Self::check).
#[derive(Debug)]
pub(crate) struct FoundConcept {
    pub(crate) id: String,
    /// `None` if the data do not say.
    pub(crate) class_word: Option<String>,
    /// `None` if the class word decides.
    pub(crate) kind: Option<ConceptKind>,
    pub(crate) images: Vec<ImageSource>,
    /// Images of other things of the class.
    pub(crate) class_images: Vec<ImageSource>,
    pub(crate) templates: Vec<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) repeats: usize,
    pub(crate) prompts: Option<PathBuf>,
    /// The folder, or the file and the key, for error messages.
    pub(crate) origin: String,
}

/// What the reader of one layout found, before the checks.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) layout: DataLayout,
    pub(crate) concepts: Vec<FoundConcept>,
    pub(crate) skipped: Vec<Skipped>,
}

impl FoundConcept {
    /// A concept of which only the folder's `name` and its images are known.
    pub(crate) fn named(name: &str, images: Vec<ImageSource>, folder: &Path) -> Self {
        Self {
            id: names::slug(name),
            class_word: names::class_word(name),
            kind: None,
            images,
            class_images: Vec::new(),
            templates: Vec::new(),
            steps: None,
            repeats: 1,
            prompts: None,
            origin: folder.display().to_string(),
        }
    }

    /// The concept with its class word and kind filled in.
    ///
    /// # Errors
    /// If the id is not valid or the class word is unknown.
    pub(crate) fn check(self) -> Result<ConceptSource, DataError> {
        names::check_id(&self.id, &self.origin)?;
        let class_word = self.class_word.map(|word| word.trim().to_string());
        let Some(class_word) = class_word.filter(|word| !word.is_empty()) else {
            return Err(DataError::ClassWord { origin: self.origin, name: self.id });
        };
        check_texts(&self.origin, &class_word, &self.images, &self.templates)?;
        check_texts(&self.origin, &class_word, &self.class_images, &[])?;
        let kind = self.kind.unwrap_or_else(|| ConceptKind::of_class(&class_word));
        let of_class = |images| ConceptSource {
            id: self.id.clone(),
            class_word: class_word.clone(),
            kind,
            images,
            class_images: None,
            templates: Vec::new(),
            steps: None,
            repeats: 1,
            prompts: None,
        };
        let class_images = Some(self.class_images).filter(|images| !images.is_empty());
        Ok(ConceptSource {
            kind,
            class_images: class_images.map(of_class).map(Box::new),
            id: self.id,
            class_word,
            images: self.images,
            templates: self.templates,
            steps: self.steps,
            repeats: self.repeats,
            prompts: self.prompts,
        })
    }
}

/// Checks the lengths of all texts.
fn check_texts(
    origin: &str,
    class_word: &str,
    images: &[ImageSource],
    templates: &[String],
) -> Result<(), DataError> {
    let captions = images.iter().filter_map(|image| Some((&image.path, image.caption.as_ref()?)));
    let origin = PathBuf::from(origin);
    let templates = templates.iter().map(|template| (&origin, template));
    let mut texts = captions.chain(templates);
    if let Some((path, text)) = texts.find(|(_, text)| text.len() > limits::TEXT) {
        let reason = format!("a text of {} bytes; at most {} are read", text.len(), limits::TEXT);
        return Err(DataError::manifest(path, "caption", reason));
    }
    if class_word.len() > limits::CLASS {
        let reason = format!("it has {} bytes; write one or two words", class_word.len());
        return Err(DataError::manifest(&origin, "class", reason));
    }
    Ok(())
}
