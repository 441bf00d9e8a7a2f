//! Special and added tokens, as the files of a tokenizer folder write them.

use serde::Deserialize;

/// A special or added token: its text, and the rules by which it is found in a prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "TokenValue")]
pub(super) struct SpecialToken {
    pub(super) content: String,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
}

/// A token in JSON is its text, or an object.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a token: its text, or an object with `content`")]
enum TokenValue {
    Text(String),
    Object {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        normalized: bool,
    },
}

impl From<TokenValue> for SpecialToken {
    fn from(value: TokenValue) -> Self {
        match value {
            TokenValue::Text(content) => Self::new(content),
            TokenValue::Object { content, single_word, lstrip, rstrip, normalized } => {
                Self { content, single_word, lstrip, rstrip, normalized }
            }
        }
    }
}

impl SpecialToken {
    /// A token that is found wherever its text occurs.
    pub(super) fn new(content: impl Into<String>) -> Self {
        let content = content.into();
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized: false }
    }
}
