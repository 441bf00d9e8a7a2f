//! The `config.json` of a VAE.

use serde::{Deserialize, Serialize};

use crate::weights::{ModelError, require_defaults, require_parts};

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
    pub fn parse(text: &str, file: &std::path::Path) -> Result<Self, ModelError> {
        require_defaults(text, file, FIXED)?;
        let config: Self = serde_json::from_str(text).map_err(|e| ModelError::config(file, e))?;
        let known = ["DownEncoderBlock2D", "UpDecoderBlock2D"];
        for channels in &config.block_out_channels {
            require_parts(file, "norm_num_groups", *channels, config.norm_num_groups)?;
        }
        let mut types = config.down_block_types.iter().chain(&config.up_block_types);
        match types.find(|t| !known.contains(&t.as_str())) {
            Some(other) => {
                Err(ModelError::config(file, format!("block type {other} is not supported")))
            }
            None => Ok(config),
        }
    }

    /// Pixels per latent in each direction.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}
