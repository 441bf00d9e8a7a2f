//! The ways in which a data path may be organised.

use std::fmt;

use serde::Serialize;

/// How a data path is organised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataLayout {
    /// A folder of images: one concept.
    Flat,
    /// A folder with one folder of images per concept.
    Folders,
    /// A folder of kohya's `<repeats>_<name> <class>` folders.
    Kohya,
    /// A folder with Hugging Face's `metadata.jsonl`: one concept with captions.
    ImageFolder,
    /// The google/dreambooth data set with its `prompts_and_classes.txt`.
    DreamBooth,
    /// Our own TOML manifest.
    Toml,
    /// A CustomConcept101 `dataset.json`.
    CustomConcept101,
}

impl fmt::Display for DataLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "folder of images (one concept)",
            Self::Folders => "folder of concept folders",
            Self::Kohya => "kohya folders; repeats have no effect, because training counts steps",
            Self::ImageFolder => "imagefolder with metadata.jsonl",
            Self::DreamBooth => "google/dreambooth data set",
            Self::Toml => "TOML manifest",
            Self::CustomConcept101 => "CustomConcept101 list",
        })
    }
}
