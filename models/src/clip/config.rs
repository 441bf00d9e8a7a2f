//! The `config.json` of a text encoder.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use crate::weights::{
    Activation, ModelError, require_defaults, require_epsilon, require_parts, require_within,
};

/// The sizes of a text encoder, with transformers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// The number of tokens in the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between the two feed-forward layers.
    pub intermediate_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The largest number of tokens in a prompt.
    pub max_position_embeddings: usize,
    /// The feed-forward layers' activation.
    pub hidden_act: Activation,
    /// ε of the normalisations.
    pub layer_norm_eps: f64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipTextConfig {
    /// Parses a `config.json`; error messages name `file`.
    ///
    /// # Errors
    /// If the text is not JSON, or needs something that is not implemented.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, &[("model_type", "\"clip_text_model\"")])?;
        let config: Self = parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
        config.require_sizes(file)?;
        Ok(config)
    }

    /// Checks that no size is larger than any model's, and that the heads divide the width; error
    /// messages name `file`.
    ///
    /// # Errors
    /// The error names the key, its value and the range.
    pub fn require_sizes(&self, file: &Path) -> Result<(), ModelError> {
        for (key, value, range) in [
            ("vocab_size", self.vocab_size, 1..=1 << 20),
            ("hidden_size", self.hidden_size, 1..=8192),
            ("intermediate_size", self.intermediate_size, 1..=1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 1..=128),
            // A text has a start and an end.
            ("max_position_embeddings", self.max_position_embeddings, 2..=4096),
        ] {
            require_within(file, key, value, range)?;
        }
        require_epsilon(file, "layer_norm_eps", self.layer_norm_eps)?;
        require_parts(file, "num_attention_heads", self.hidden_size, self.num_attention_heads)
    }
}
