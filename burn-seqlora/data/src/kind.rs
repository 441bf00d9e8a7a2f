//! What kind of thing a concept is: an object, a person or a style.

use serde::{Deserialize, Serialize};

use super::templates;

/// What a concept is, which decides how its prompts are worded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConceptKind {
    /// Things and animals: "a photo of a {}".
    #[default]
    Object,
    /// People: "a photo of {}".
    Human,
    /// Artistic styles: "a painting in the style of {}".
    Style,
}

impl ConceptKind {
    /// The kind that a class word suggests: "woman" is a person, "watercolour style" a style, and
    /// everything else an object.
    pub fn of_class(class_word: &str) -> Self {
        const PEOPLE: [&str; 12] = [
            "person", "man", "woman", "boy", "girl", "child", "baby", "guy", "lady", "face",
            "actor", "actress",
        ];
        let last = class_word.split_whitespace().last().unwrap_or_default().to_lowercase();
        match last.as_str() {
            "style" => Self::Style,
            word if PEOPLE.contains(&word) => Self::Human,
            _ => Self::Object,
        }
    }

    /// The built-in prompt templates, each with one `{}`.
    pub fn templates(self) -> &'static [&'static str] {
        match self {
            Self::Object => &templates::OBJECT,
            Self::Human => &templates::HUMAN,
            Self::Style => &templates::STYLE,
        }
    }
}
