//! The keys of a single-file checkpoint and diffusers' names for them.
//!
//! The original UNet numbers its blocks consecutively, while diffusers nests them in levels. So the
//! paths of blocks are computed from the config, and only the names inside a block are a table.

use super::infer::{CLIP, Family, OPEN_CLIP, UNET, VAE};
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::weights::Header;
use crate::weights::keys::replace_segments;

/// Names inside a block: the checkpoint's and diffusers'.
type Names = &'static [(&'static str, &'static str)];

const UNET_RESNET: Names = &[
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];
const VAE_RESNET: Names = &[("nin_shortcut", "conv_shortcut")];
const VAE_ATTENTION: Names = &[
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
];
const OPEN_CLIP_BLOCK: Names = &[
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("attn", "self_attn"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// A module with different paths in the checkpoint and in diffusers, and the names inside it.
#[derive(Debug, Clone)]
struct RenamedModule {
    theirs: String,
    diffusers: String,
    inside: Names,
}

/// The translation of one component's keys between a single-file checkpoint and diffusers.
#[derive(Debug, Clone, Default)]
pub struct Renaming {
    /// The prefix of the component's keys.
    root: &'static str,
    modules: Vec<RenamedModule>,
    /// What the model does not use, by the start of the keys after the root.
    ignored: Vec<String>,
}

impl Renaming {
    fn under(root: &'static str) -> Self {
        Self { root, ..Self::default() }
    }

    fn add(&mut self, theirs: impl Into<String>, diffusers: impl Into<String>, inside: Names) {
        self.modules.push(RenamedModule {
            theirs: theirs.into(),
            diffusers: diffusers.into(),
            inside,
        });
    }

    /// Diffusers' name for a key; `None` if the key is not a parameter of this component.
    pub fn to_diffusers(&self, key: &str) -> Option<String> {
        let key = key.strip_prefix(self.root)?;
        if self.ignored.iter().any(|start| key.starts_with(start)) {
            return None;
        }
        let module = self.modules.iter().find_map(|p| Some((p, after(key, &p.theirs)?)));
        Some(module.map_or(key.to_string(), |(module, rest)| {
            let rename = |rest, (theirs, ours): &(&str, &str)| replace_segments(rest, theirs, ours);
            join(&module.diffusers, &module.inside.iter().fold(rest.to_string(), rename))
        }))
    }

    /// The key for diffusers' name.
    pub fn from_diffusers(&self, name: &str) -> String {
        let module = self.modules.iter().find_map(|p| Some((p, after(name, &p.diffusers)?)));
        let key = module.map_or(name.to_string(), |(module, rest)| {
            let rename = |rest, (theirs, ours): &(&str, &str)| replace_segments(rest, ours, theirs);
            join(&module.theirs, &module.inside.iter().fold(rest.to_string(), rename))
        });
        format!("{}{key}", self.root)
    }
}

/// The rest of a path after `start`, if `start` is the whole path or ends at one of its dots.
fn after<'a>(path: &'a str, start: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(start)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

fn join(start: &str, rest: &str) -> String {
    if rest.is_empty() { start.to_string() } else { format!("{start}.{rest}") }
}

/// The translation of the UNet's keys.
pub fn unet(config: &UNetConfig) -> Renaming {
    let mut names = Renaming::under(UNET);
    // ComfyUI's marks.
    names.ignored = ["v_pred", "ztsnr"].map(String::from).to_vec();
    for (theirs, diffusers) in [
        ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"),
        ("input_blocks.0.0", "conv_in"),
        ("middle_block.1", "mid_block.attentions.0"),
        ("out.0", "conv_norm_out"),
        ("out.2", "conv_out"),
    ] {
        names.add(theirs, diffusers, &[]);
    }
    names.add("middle_block.0", "mid_block.resnets.0", UNET_RESNET);
    names.add("middle_block.2", "mid_block.resnets.1", UNET_RESNET);
    let (levels, layers) = (config.block_out_channels.len(), config.layers_per_block);
    for level in 0..levels {
        // Each level has one number per residual block and one for the change of size. The down
        // blocks start at 1, after the first convolution.
        let first = level * (layers + 1);
        for layer in 0..layers {
            let (block, down) = (first + 1 + layer, format!("down_blocks.{level}"));
            let (resnet, attention) =
                (format!("{down}.resnets.{layer}"), format!("{down}.attentions.{layer}"));
            names.add(format!("input_blocks.{block}.1"), attention, &[]);
            names.add(format!("input_blocks.{block}.0"), resnet, UNET_RESNET);
        }
        let (block, down) =
            (first + 1 + layers, format!("down_blocks.{level}.downsamplers.0.conv"));
        names.add(format!("input_blocks.{block}.0.op"), down, &[]);
        let attends = config.up_block_types[level].starts_with("Cross");
        for layer in 0..=layers {
            let (block, up) = (first + layer, format!("up_blocks.{level}"));
            names.add(
                format!("output_blocks.{block}.0"),
                format!("{up}.resnets.{layer}"),
                UNET_RESNET,
            );
            if attends {
                let attention = format!("{up}.attentions.{layer}");
                names.add(format!("output_blocks.{block}.1"), attention, &[]);
            }
        }
        // The upsampler is the last module of its block, after the attention if there is one.
        let (block, last) = (first + layers, if attends { 2 } else { 1 });
        let up = format!("up_blocks.{level}.upsamplers.0.conv");
        names.add(format!("output_blocks.{block}.{last}.conv"), up, &[]);
    }
    names
}

/// The translation of the VAE's keys. The original decoder counts its levels from fine to coarse.
pub fn vae(config: &VaeConfig) -> Renaming {
    let mut names = Renaming::under(VAE);
    // Training's loss, with a network of its own, and its moving averages.
    names.ignored = ["loss.", "model_ema."].map(String::from).to_vec();
    let (levels, layers) = (config.block_out_channels.len(), config.layers_per_block);
    for coder in ["encoder", "decoder"] {
        let (mid, diffusers) = (format!("{coder}.mid"), format!("{coder}.mid_block"));
        names.add(format!("{coder}.norm_out"), format!("{coder}.conv_norm_out"), &[]);
        names.add(format!("{mid}.block_1"), format!("{diffusers}.resnets.0"), VAE_RESNET);
        names.add(format!("{mid}.attn_1"), format!("{diffusers}.attentions.0"), VAE_ATTENTION);
        names.add(format!("{mid}.block_2"), format!("{diffusers}.resnets.1"), VAE_RESNET);
    }
    for level in 0..levels {
        let ways = [
            ("encoder.down", level, "encoder.down_blocks", "downsample", layers),
            ("decoder.up", levels - 1 - level, "decoder.up_blocks", "upsample", layers + 1),
        ];
        for (theirs, number, diffusers, change, layers) in ways {
            let (theirs, diffusers) =
                (format!("{theirs}.{number}"), format!("{diffusers}.{level}"));
            for layer in 0..layers {
                let resnet = format!("{diffusers}.resnets.{layer}");
                names.add(format!("{theirs}.block.{layer}"), resnet, VAE_RESNET);
            }
            names.add(format!("{theirs}.{change}"), format!("{diffusers}.{change}rs.0"), &[]);
        }
    }
    names
}

/// The translation of the keys of a file with a VAE, alone or within a whole model; `None` if it has none with the
/// original names. Alone, keys may lack the prefix.
pub fn vae_in(header: &Header, config: &VaeConfig) -> Option<Renaming> {
    match (header.has_under(VAE), header.has_under("encoder.down.")) {
        (true, _) => Some(vae(config)),
        (false, true) => Some(Renaming { root: "", ..vae(config) }),
        (false, false) => None,
    }
}

/// The translation of the keys of a text encoder with `layers` layers. Keys of what Stable Diffusion does
/// not use are no parameters: the image half of CLIP, the projections, and in Stable Diffusion 2 the
/// last block.
pub fn text_encoder(family: Family, layers: usize) -> Renaming {
    if family == Family::Sd1 {
        let mut names = Renaming::under(CLIP);
        let unused = ["vision_model.", "visual_projection.", "text_projection", "logit_scale"];
        names.ignored = unused.map(String::from).to_vec();
        names.ignored.push("text_model.text_projection".into());
        return names;
    }
    let mut names = Renaming::under(OPEN_CLIP);
    names.add("token_embedding", "embeddings.token_embedding", &[]);
    names.add("positional_embedding", "embeddings.position_embedding.weight", &[]);
    names.add("ln_final", "final_layer_norm", &[]);
    for layer in 0..layers {
        let diffusers = format!("encoder.layers.{layer}");
        names.add(format!("transformer.resblocks.{layer}"), diffusers, OPEN_CLIP_BLOCK);
    }
    names.ignored =
        ["text_projection", "logit_scale", "visual.", "attn_mask"].map(String::from).to_vec();
    names.ignored.push(format!("transformer.resblocks.{layers}."));
    names
}

/// The names of Stable Diffusion 1's text encoder in a file that is written: with `text_model.`, which transformers had before
/// version 5 and by which other programs recognise the encoder.
pub fn written_text_encoder() -> Renaming {
    Renaming::under("cond_stage_model.transformer.text_model.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_both_ways(names: &Renaming, cases: &[(&str, &str)]) {
        for (key, diffusers) in cases {
            let key = format!("{}{key}", names.root);
            assert_eq!(names.to_diffusers(&key).as_deref(), Some(*diffusers));
            assert_eq!(names.from_diffusers(diffusers), key);
        }
    }

    /// Pairs from the published files.
    #[test]
    fn keys_of_stable_diffusion() {
        assert_both_ways(
            &unet(&UNetConfig::default()),
            &[
                ("input_blocks.0.0.bias", "conv_in.bias"),
                ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
                (
                    "input_blocks.4.0.skip_connection.bias",
                    "down_blocks.1.resnets.0.conv_shortcut.bias",
                ),
                ("input_blocks.8.1.proj_in.weight", "down_blocks.2.attentions.1.proj_in.weight"),
                (
                    "input_blocks.1.1.transformer_blocks.0.norm1.bias",
                    "down_blocks.0.attentions.0.transformer_blocks.0.norm1.bias",
                ),
                ("input_blocks.11.0.in_layers.2.bias", "down_blocks.3.resnets.1.conv1.bias"),
                ("middle_block.1.norm.weight", "mid_block.attentions.0.norm.weight"),
                ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
                ("output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
                (
                    "output_blocks.11.0.emb_layers.1.bias",
                    "up_blocks.3.resnets.2.time_emb_proj.bias",
                ),
            ],
        );
        let config = VaeConfig {
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            ..VaeConfig::default()
        };
        assert_both_ways(
            &vae(&config),
            &[
                ("decoder.up.0.block.2.conv1.bias", "decoder.up_blocks.3.resnets.2.conv1.bias"),
                ("decoder.up.3.upsample.conv.bias", "decoder.up_blocks.0.upsamplers.0.conv.bias"),
                (
                    "encoder.down.2.downsample.conv.bias",
                    "encoder.down_blocks.2.downsamplers.0.conv.bias",
                ),
                ("encoder.mid.attn_1.q.bias", "encoder.mid_block.attentions.0.to_q.bias"),
                (
                    "encoder.mid.attn_1.proj_out.bias",
                    "encoder.mid_block.attentions.0.to_out.0.bias",
                ),
                ("quant_conv.weight", "quant_conv.weight"),
            ],
        );
        assert_both_ways(
            &text_encoder(Family::Sd2, 23),
            &[
                ("positional_embedding", "embeddings.position_embedding.weight"),
                ("transformer.resblocks.2.mlp.c_proj.bias", "encoder.layers.2.mlp.fc2.bias"),
                (
                    "transformer.resblocks.22.attn.q_proj.bias",
                    "encoder.layers.22.self_attn.q_proj.bias",
                ),
            ],
        );
    }

    /// SD2 uses the output of the last block but one, and no projection. What else training and other
    /// tools leave in a file does no harm.
    #[test]
    fn what_stable_diffusion_does_not_use() {
        let is_unused = |names: &Renaming, key: &str| {
            assert_eq!(names.to_diffusers(&format!("{}{key}", names.root)), None, "{key}");
        };
        let names = text_encoder(Family::Sd2, 23);
        for key in ["transformer.resblocks.23.ln_1.bias", "text_projection", "logit_scale"] {
            is_unused(&names, key);
        }
        assert_eq!(names.to_diffusers("model_ema.decay"), None);
        assert!(
            names.to_diffusers(&format!("{OPEN_CLIP}transformer.resblocks.22.ln_1.bias")).is_some()
        );
        let names = text_encoder(Family::Sd1, 12);
        for key in ["logit_scale", "text_projection.weight", "vision_model.embeddings.position_ids"]
        {
            is_unused(&names, key);
        }
        is_unused(&vae(&VaeConfig::default()), "loss.logvar");
        is_unused(&unet(&UNetConfig::default()), "v_pred");
    }
}
