//! The `config.json` of a vision transformer.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use crate::weights::{Activation, ModelError, require_defaults};

/// The sizes of a vision transformer, with transformers' names and defaults.
///
/// DINO's ViT-S/16 ([arXiv 2104.14294](https://arxiv.org/abs/2104.14294)) has `hidden_size` 384,
/// `num_attention_heads` 6 and `intermediate_size` 1536; the rest are the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VitConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// Width between the two feed-forward layers.
    pub intermediate_size: usize,
    /// Height and width of the images that the position embeddings were trained on.
    pub image_size: usize,
    /// Channels of the images.
    pub num_channels: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// ε of the normalisations.
    pub layer_norm_eps: f64,
    /// The feed-forward layers' activation.
    pub hidden_act: Activation,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            image_size: 224,
            num_channels: 3,
            patch_size: 16,
            qkv_bias: true,
            layer_norm_eps: 1e-12,
            hidden_act: Activation::Gelu,
        }
    }
}

impl VitConfig {
    /// Parses a `config.json`; error messages name `file`.
    ///
    /// # Errors
    /// If the text is not JSON, needs something that is not implemented, or has sizes that do not fit
    /// each other.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, &[("model_type", "\"vit\""), ("num_channels", "3")])?;
        let config: Self = parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
        config.check().map_err(|reason| ModelError::config(file, reason))?;
        Ok(config)
    }

    /// Patches along each side of an image of `image_size`.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Checks that no number is larger than any model's, that the heads divide the width, and the patches
    /// the image.
    ///
    /// # Errors
    /// A sentence with the key and the numbers.
    pub fn check(&self) -> Result<(), String> {
        for (key, value, most) in [
            ("hidden_size", self.hidden_size, 8192),
            ("num_hidden_layers", self.num_hidden_layers, 128),
            ("intermediate_size", self.intermediate_size, 1 << 16),
            ("image_size", self.image_size, 4096),
            ("num_channels", self.num_channels, 8192),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("`{key}` is {value}; expected 1 to {most}"));
            }
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let found = self.layer_norm_eps;
            return Err(format!("`layer_norm_eps` is {found}; expected a number between 0 and 1"));
        }
        let divides = |(part, n): (&str, usize), (whole, m): (&str, usize)| {
            if n > 0 && m > 0 && m.is_multiple_of(n) {
                return Ok(());
            }
            Err(format!("`{part}` is {n}, which does not divide `{whole}`, {m}"))
        };
        let heads = ("num_attention_heads", self.num_attention_heads);
        divides(heads, ("hidden_size", self.hidden_size))?;
        divides(("patch_size", self.patch_size), ("image_size", self.image_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<VitConfig, String> {
        VitConfig::parse(text, Path::new("vit/config.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_config_of_dino_is_understood() {
        let small = parse(
            r#"{"model_type": "vit", "hidden_size": 384, "num_attention_heads": 6,
                "intermediate_size": 1536, "hidden_dropout_prob": 0.0}"#,
        );
        let small = small.unwrap();
        assert_eq!((small.hidden_size, small.num_hidden_layers, small.grid()), (384, 12, 14));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let heads = parse(r#"{"hidden_size": 100, "num_attention_heads": 6}"#).unwrap_err();
        assert!(heads.contains("`num_attention_heads` is 6"), "{heads}");
        let patches = parse(r#"{"image_size": 64, "patch_size": 0}"#).unwrap_err();
        assert!(patches.contains("`patch_size` is 0"), "{patches}");
        let kind = parse(r#"{"model_type": "dinov2"}"#).unwrap_err();
        assert!(kind.contains("config.json") && kind.contains("`model_type`"), "{kind}");
    }
}
