//! The configuration of a classifier, its `config.json`.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use seqlora_models::vit::VitConfig;
use seqlora_models::weights::{
    Activation, ModelError, require_defaults, require_parts, require_within,
};

/// The number of channel groups of the stem's group normalisation.
pub(super) const STEM_GROUPS: usize = 8;

/// The sizes of a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassifierConfig {
    /// `toy_world_classifier`, which distinguishes this configuration from those of other models.
    pub model_type: String,
    /// Output channels of the convolutional levels before the transformer, each of which halves the
    /// resolution. With them a transformer learns faster from few images (Xiao et al. 2021, arXiv
    /// 2106.14881).
    pub stem: Vec<usize>,
    /// The vision transformer, whose input is the output of the stem.
    pub vision_config: VitConfig,
    /// Width of the identity embedding.
    pub projection_dim: usize,
}

impl Default for ClassifierConfig {
    /// 0.9 million parameters, for images of 64 × 64 pixels.
    fn default() -> Self {
        Self {
            model_type: "toy_world_classifier".into(),
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
                ..VitConfig::default()
            },
            projection_dim: 64,
        }
    }
}

impl ClassifierConfig {
    /// Parses the text of a `config.json`; `file` is its path for error messages.
    ///
    /// # Errors
    /// If it is not valid JSON, belongs to another model, or its sizes are inconsistent.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, &[("model_type", "\"toy_world_classifier\"")])?;
        let config: Self = parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
        require_within(file, "projection_dim", config.projection_dim, 1..=8192)?;
        if config.stem.len() > 8 {
            let reason = format!("`stem` has {} entries; expected at most 8", config.stem.len());
            return Err(ModelError::config(file, reason));
        }
        for channels in &config.stem {
            require_within(file, "stem", *channels, 1..=8192)?;
            require_parts(file, "stem", *channels, STEM_GROUPS)?;
        }
        let check = config.vision_config.check();
        check.map_err(|reason| ModelError::config(file, format!("`vision_config`: {reason}")))?;
        Ok(config)
    }

    /// Width and height of the images that the classifier is made for, in pixels.
    pub fn side(&self) -> usize {
        self.vision_config.image_size << self.stem.len()
    }
}
