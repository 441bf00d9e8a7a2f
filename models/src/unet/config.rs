//! The `config.json` of a UNet.

use std::path::Path;

use seqlora_files::parse_object;
use serde::{Deserialize, Serialize};

use crate::weights::{
    ModelError, PerLevel, require_defaults, require_epsilon, require_levels, require_parts,
    require_types, require_within,
};

/// The sizes of a UNet, with diffusers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// Height and width of the latents that it was trained on.
    pub sample_size: usize,
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// One entry per level, from fine to coarse.
    pub down_block_types: Vec<String>,
    /// One entry per level, from coarse to fine.
    pub up_block_types: Vec<String>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per down block; an up block has one more.
    pub layers_per_block: usize,
    /// Transformer blocks in each attention module, per level.
    pub transformer_layers_per_block: PerLevel,
    /// The number of heads per level, under diffusers' historical name.
    pub attention_head_dim: PerLevel,
    /// The number of heads per level, which takes precedence over `attention_head_dim`.
    pub num_attention_heads: Option<PerLevel>,
    /// Width of the encoded prompt.
    pub cross_attention_dim: usize,
    /// Whether linear layers (SD2) enclose the transformer blocks, instead of 1×1 convolutions (SD1).
    pub use_linear_projection: bool,
    /// Groups of the group normalisations.
    pub norm_num_groups: usize,
    /// ε of the residual blocks' normalisations.
    pub norm_eps: f64,
    /// Whether the cosines come before the sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift in the time embedding's frequencies.
    pub freq_shift: f64,
}

impl Default for UNetConfig {
    fn default() -> Self {
        let blocks = |names: [&str; 4]| names.map(String::from).to_vec();
        let (cross_down, cross_up) = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D");
        Self {
            sample_size: 64,
            in_channels: 4,
            out_channels: 4,
            down_block_types: blocks([cross_down, cross_down, cross_down, "DownBlock2D"]),
            up_block_types: blocks(["UpBlock2D", cross_up, cross_up, cross_up]),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            transformer_layers_per_block: PerLevel::Same(1),
            attention_head_dim: PerLevel::Same(8),
            num_attention_heads: None,
            cross_attention_dim: 1280,
            use_linear_projection: false,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
        }
    }
}

/// Settings of which only one value is implemented. Any other value is an error.
const FIXED: &[(&str, &str)] = &[
    ("act_fn", "\"silu\""),
    ("addition_embed_type", "null"),
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embed_type", "null"),
    ("class_embeddings_concat", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("downsample_padding", "1"),
    ("dropout", "0.0"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("mid_block_only_cross_attention", "null"),
    ("mid_block_scale_factor", "1"),
    ("mid_block_type", "\"UNetMidBlock2DCrossAttn\""),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_out_scale_factor", "1.0"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("reverse_transformer_layers_per_block", "null"),
    ("time_cond_proj_dim", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_dim", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
];

impl UNetConfig {
    /// Parses a `config.json`; error messages name `file`.
    ///
    /// # Errors
    /// If the text is not JSON, needs something that is not implemented, or contradicts itself.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ModelError> {
        require_defaults(text, file, FIXED)?;
        let config: Self = parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
        config.check_sizes(file)?;
        config.check_levels(file)?;
        Ok(config)
    }

    /// Refuses numbers that no UNet has.
    fn check_sizes(&self, file: &Path) -> Result<(), ModelError> {
        for (key, value, range) in [
            ("sample_size", self.sample_size, 1..=1024),
            ("in_channels", self.in_channels, 1..=64),
            ("out_channels", self.out_channels, 1..=64),
            ("layers_per_block", self.layers_per_block, 1..=16),
            ("cross_attention_dim", self.cross_attention_dim, 1..=8192),
        ] {
            require_within(file, key, value, range)?;
        }
        require_epsilon(file, "norm_eps", self.norm_eps)?;
        // Diffusers divides by the number of frequencies less this.
        match (0.0..=1.0).contains(&self.freq_shift) {
            true => Ok(()),
            false => {
                let reason = format!("`freq_shift` is {:?}; expected 0 to 1", self.freq_shift);
                Err(ModelError::config(file, reason))
            }
        }
    }

    /// Refuses lists that do not fit each other, and numbers that no level has.
    fn check_levels(&self, file: &Path) -> Result<(), ModelError> {
        let levels = self.block_out_channels.len();
        require_levels(file, levels)?;
        for (key, types, known) in [
            ("down_block_types", &self.down_block_types, ["CrossAttnDownBlock2D", "DownBlock2D"]),
            ("up_block_types", &self.up_block_types, ["CrossAttnUpBlock2D", "UpBlock2D"]),
        ] {
            require_types(file, key, types, &known, levels)?;
        }
        for (key, numbers) in [
            ("attention_head_dim", Some(&self.attention_head_dim)),
            ("num_attention_heads", self.num_attention_heads.as_ref()),
            ("transformer_layers_per_block", Some(&self.transformer_layers_per_block)),
        ] {
            if numbers.is_some_and(|numbers| !numbers.covers(levels)) {
                let reason =
                    format!("`{key}` does not have one number for each of the {levels} levels");
                return Err(ModelError::config(file, reason));
            }
        }
        for (level, channels) in self.block_out_channels.iter().enumerate() {
            require_within(file, "block_out_channels", *channels, 4..=8192)?;
            require_parts(file, "norm_num_groups", *channels, self.norm_num_groups)?;
            require_parts(file, "attention_head_dim", *channels, self.heads(level))?;
            let layers = self.transformer_layers_per_block.at(level);
            require_within(file, "transformer_layers_per_block", layers, 1..=32)?;
        }
        match self.block_out_channels[0].is_multiple_of(2) {
            true => Ok(()),
            false => {
                let reason = "the first of `block_out_channels` is odd, and the time embedding has as \
                              many sines as cosines";
                Err(ModelError::config(file, reason))
            }
        }
    }

    /// The number of heads at a level, counted from fine to coarse.
    pub fn heads(&self, level: usize) -> usize {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).at(level)
    }

    /// Channels of the middle block.
    pub fn middle_width(&self) -> usize {
        self.block_out_channels[self.block_out_channels.len() - 1]
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> usize {
        4 * self.block_out_channels[0]
    }
}
