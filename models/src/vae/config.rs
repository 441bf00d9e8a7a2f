//! The `config.json` of a VAE.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use crate::weights::{
    ModelError, require_defaults, require_levels, require_parts, require_types, require_within,
};

/// The sizes of a VAE, with diffusers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the images.
    pub in_channels: usize,
    /// Channels of the decoded images.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// One entry per level, from fine to coarse.
    pub down_block_types: Vec<String>,
    /// One entry per level, from coarse to fine.
    pub up_block_types: Vec<String>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the group normalisations.
    pub norm_num_groups: usize,
    /// The denoiser's latents are the VAE's latents times this factor.
    pub scaling_factor: f64,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
        }
    }
}

/// Settings of which only one value is implemented. Any other value is an error.
const FIXED: &[(&str, &str)] = &[
    ("act_fn", "\"silu\""),
    ("latents_mean", "null"),
    ("latents_std", "null"),
    ("mid_block_add_attention", "true"),
    ("shift_factor", "null"),
    ("use_post_quant_conv", "true"),
    ("use_quant_conv", "true"),
];

impl VaeConfig {
    /// Parses a `config.json`; error messages name `file`.
    ///
    /// # Errors
    /// If the text is not JSON, or needs something that is not implemented.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, FIXED)?;
        let config: Self = parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
        config.check(file)?;
        Ok(config)
    }

    /// Refuses lists that do not fit each other, and numbers that no VAE has.
    fn check(&self, file: &Path) -> Result<(), ModelError> {
        for (key, value, range) in [
            // Images have three colours.
            ("in_channels", self.in_channels, 3..=3),
            ("out_channels", self.out_channels, 3..=3),
            ("latent_channels", self.latent_channels, 1..=64),
            ("layers_per_block", self.layers_per_block, 1..=16),
        ] {
            require_within(file, key, value, range)?;
        }
        let levels = self.block_out_channels.len();
        require_levels(file, levels)?;
        for (key, types, known) in [
            ("down_block_types", &self.down_block_types, "DownEncoderBlock2D"),
            ("up_block_types", &self.up_block_types, "UpDecoderBlock2D"),
        ] {
            require_types(file, key, types, &[known], levels)?;
        }
        for channels in &self.block_out_channels {
            require_within(file, "block_out_channels", *channels, 1..=8192)?;
            require_parts(file, "norm_num_groups", *channels, self.norm_num_groups)?;
        }
        match self.scaling_factor > 0.0 && self.scaling_factor < 1e3 {
            true => Ok(()),
            false => {
                let found = self.scaling_factor;
                let reason =
                    format!("`scaling_factor` is {found:?}; expected more than 0, below 1000");
                Err(ModelError::config(file, reason))
            }
        }
    }

    /// Pixels per latent in each direction.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}
