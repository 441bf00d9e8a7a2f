//! What a judge's `config.json` says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use seqlora_models::vit::VitConfig;
use seqlora_models::weights::{Activation, ModelError, require_defaults};

/// The sizes of a judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeConfig {
    /// Tells this config from those of other models.
    pub model_type: String,
    /// Channels of the levels of convolutions before the transformer, each of which halves the
    /// sides. They make a transformer learn early from few pictures (Xiao et al. 2021, arXiv
    /// 2106.14881).
    pub stem: Vec<usize>,
    /// The vision transformer; its pictures are what the stem makes.
    pub vision_config: VitConfig,
    /// Width of the identity embedding.
    pub projection_dim: usize,
}

impl Default for JudgeConfig {
    /// 0.9 M parameters for pictures of 64².
    fn default() -> Self {
        Self {
            model_type: "picture_world_judge".into(),
            stem: vec![32, 64, 128],
            vision_config: VitConfig {
                hidden_size: 128,
                num_hidden_layers: 3,
                num_attention_heads: 4,
                intermediate_size: 512,
                image_size: 8,
                num_channels: 128,
                patch_size: 1,
                qkv_bias: true,
                layer_norm_eps: 1e-6,
                hidden_act: Activation::Gelu,
            },
            projection_dim: 64,
        }
    }
}

impl JudgeConfig {
    /// Reads the text of a `config.json`; `file` is for messages.
    ///
    /// # Errors
    /// If it is no JSON, is another model's, or its sizes do not fit each other.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, &[("model_type", "\"picture_world_judge\"")])?;
        let config: Self = serde_json::from_str(text).map_err(|e| ModelError::config(file, e))?;
        let check = config.vision_config.check();
        check.map_err(|reason| ModelError::config(file, format!("`vision_config`: {reason}")))?;
        Ok(config)
    }

    /// Side of the pictures that the judge is for.
    pub fn side(&self) -> usize {
        self.vision_config.image_size << self.stem.len()
    }
}
