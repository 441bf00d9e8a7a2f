//! One concept on disk: its images with captions and masks, its class and its templates.

use std::path::PathBuf;

use serde::Serialize;

use super::kind::ConceptKind;

/// One concept and the files of its training data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConceptSource {
    /// Unique name, safe as a folder name: `[A-Za-z0-9._-]+`.
    pub id: String,
    /// What the subject is, in plain words ("dog", "stuffed animal").
    pub class_word: String,
    /// The kind of subject, which selects the built-in templates.
    pub kind: ConceptKind,
    /// Training images, at least one.
    pub images: Vec<ImageSource>,
    /// Other things of the class, if there are images of them: the same class word, with captions in which the
    /// class is in the concept's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_images: Option<Box<ConceptSource>>,
    /// Prompt templates, each with one `{}` where the concept's words go; if empty, the built-in
    /// templates of `kind` are used.
    pub templates: Vec<String>,
    /// The number of training steps, if the manifest sets it.
    pub steps: Option<usize>,
    /// The number that prefixes a kohya folder; 1 if there is none. It has no effect, because training
    /// counts steps instead of epochs and draws all images of a concept equally often.
    pub repeats: usize,
    /// The file of evaluation prompts, if a CustomConcept101 list names one; training does not read it.
    pub prompts: Option<PathBuf>,
}

impl ConceptSource {
    /// Gives it and the images of its class another class. The kind follows if it was that of the class before.
    pub fn set_class(&mut self, class_word: &str) {
        if self.kind == ConceptKind::of_class(&self.class_word) {
            self.kind = ConceptKind::of_class(class_word);
        }
        self.class_word = class_word.into();
        if let Some(images) = &mut self.class_images {
            images.set_class(class_word);
        }
    }
}

/// One training image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// The image file.
    pub path: PathBuf,
    /// The caption that the user wrote for it.
    pub caption: Option<String>,
    /// The file of its subject mask, which is white on the subject.
    pub mask: Option<PathBuf>,
}

/// A file or folder that training does not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: String,
}
