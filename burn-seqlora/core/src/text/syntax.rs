//! How prompts are read: literally, or with weights.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::weights::{Part, parse_weights};
use crate::error::Result;

/// How a prompt is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptSyntax {
    /// Literally, as diffusers reads it: all characters are text, and tokens that do not fit into the text
    /// encoder are left out.
    #[default]
    Plain,
    /// As A1111's web interface reads it: with [weights](parse_weights), and in chunks of tokens where it
    /// is longer than the text encoder's room.
    Weighted,
}

impl PromptSyntax {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Weighted => "weighted",
        }
    }

    /// The parts of a prompt.
    ///
    /// # Errors
    /// Those of [`parse_weights`].
    pub fn parts(self, prompt: &str) -> Result<Vec<Part>> {
        match self {
            Self::Plain => Ok(vec![Part::Text(prompt.into(), 1.0)]),
            Self::Weighted => parse_weights(prompt),
        }
    }
}

impl fmt::Display for PromptSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
