//! The sizes and variants of a vision transformer.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use crate::weights::{Activation, ModelError, require_defaults};

/// The sizes and variants of a vision transformer, with the names and defaults of transformers'
/// `ViTConfig` as far as it has them. The other models differ from the defaults in these fields:
///
/// | model | fields |
/// |---|---|
/// | DINO ([2104.14294](https://arxiv.org/abs/2104.14294)) | none; ViT-S/16 has the sizes 384, 12, 6, 1536 |
/// | DINOv2 ([2304.07193](https://arxiv.org/abs/2304.07193)) | `layer_scale`, also `num_register_tokens` and, in g, `gated` |
/// | DINOv3 ([2508.10104](https://arxiv.org/abs/2508.10104)) | `layer_scale`, `num_register_tokens`, `key_bias`, `rope_theta`, also `gated` |
/// | CLIP ([2103.00020](https://arxiv.org/abs/2103.00020)) | `pre_norm`, `patch_bias`, `projection_dim`, also `hidden_act` |
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
    /// Whether the key projection has a bias, if query and value have one.
    pub key_bias: bool,
    /// Whether the patch embedding has a bias.
    pub patch_bias: bool,
    /// The number of tokens between the class token and the patches that no image part stands for.
    pub num_register_tokens: usize,
    /// Whether the outputs of attention and feed-forward layers are scaled channel by channel.
    pub layer_scale: bool,
    /// Whether the feed-forward layers are gated (SwiGLU).
    pub gated: bool,
    /// Whether the tokens are normalised before the first layer.
    pub pre_norm: bool,
    /// The base of rotary position embeddings, which replace learnt ones.
    pub rope_theta: Option<f64>,
    /// The width of the projected class token; without it, the class token is the output.
    pub projection_dim: Option<usize>,
    /// Whether that projection has a bias.
    pub projection_bias: bool,
    /// How learnt position embeddings are resampled for images of another size.
    pub resampling: Resampling,
}

/// How position embeddings are resampled: bicubically, as the model's authors or transformers do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// As transformers does for `ViTModel` and `Dinov2Model`: by the sizes of both grids.
    #[default]
    Size,
    /// As transformers does for `Dinov2WithRegistersModel`: with antialiasing.
    Antialiased,
    /// As the original code of DINO and DINOv2 does: by the ratio (size + 0.1) / trained size, whose 0.1
    /// shifts all positions a little.
    Hub,
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
            key_bias: true,
            patch_bias: true,
            num_register_tokens: 0,
            layer_scale: false,
            gated: false,
            pre_norm: false,
            rope_theta: None,
            projection_dim: None,
            projection_bias: false,
            resampling: Resampling::Size,
        }
    }
}

impl VitConfig {
    /// Parses the `config.json` of a `ViTModel`; error messages name `file`.
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

    /// Width of what stands for an image: of the projected class token, or of the class token.
    pub fn outputs(&self) -> usize {
        self.projection_dim.unwrap_or(self.hidden_size)
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
            ("projection_dim", self.outputs(), 8192),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("`{key}` is {value}; expected 1 to {most}"));
            }
        }
        if self.num_register_tokens > 1024 {
            let found = self.num_register_tokens;
            return Err(format!("`num_register_tokens` is {found}; expected 0 to 1024"));
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
        if let Some(theta) = self.rope_theta {
            let channels = self.hidden_size / self.num_attention_heads;
            if !(channels.is_multiple_of(4) && theta.is_finite() && theta > 0.0) {
                return Err(format!(
                    "`rope_theta` is {theta} with {channels} channels per head; expected a number above 0 \
                     and a multiple of four"
                ));
            }
        }
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
