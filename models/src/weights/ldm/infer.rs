//! The sizes of a model, derived from the shapes in a single-file checkpoint.
//!
//! The result has the form of diffusers' configs. So a file can override what shapes do not determine
//! (heads, groups), and the configs are checked in the same way as those of a folder.

use serde_json::{Value, json};

use crate::weights::{Header, ModelError};

/// The text encoder of a checkpoint, which identifies the whole architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's CLIP in transformers' layout: Stable Diffusion 1.x.
    Sd1,
    /// OpenCLIP in its own layout: Stable Diffusion 2.x.
    Sd2,
}

/// What the shapes in a file tell.
#[derive(Debug)]
pub struct Inferred {
    /// Its text encoder.
    pub family: Family,
    /// Diffusers' configs of its UNet, text encoder and VAE.
    pub configs: [Value; 3],
    /// Sentences about what the file does not tell, and what is taken for it.
    pub notes: Vec<String>,
}

/// The prefix of the UNet's keys.
pub(super) const UNET: &str = "model.diffusion_model.";
/// The prefix of the VAE's keys.
pub(super) const VAE: &str = "first_stage_model.";
/// The prefix of the text encoder's keys in SD1.
pub(super) const CLIP: &str = "cond_stage_model.transformer.";
/// The prefix of the text encoder's keys in SD2.
pub(super) const OPEN_CLIP: &str = "cond_stage_model.model.";

/// The family of a checkpoint, and diffusers' configs of its UNet, text encoder and VAE.
///
/// # Errors
/// If a tensor that determines a size is missing.
pub fn infer(header: &Header) -> Result<Inferred, ModelError> {
    let family = match header.has(&format!("{OPEN_CLIP}positional_embedding")) {
        true => Family::Sd2,
        false => Family::Sd1,
    };
    let mut notes = Vec::new();
    let configs = [unet(header, family)?, text_encoder(header, family, &mut notes)?, vae(header)?];
    Ok(Inferred { family, configs, notes })
}

/// Whether the file has ComfyUI's mark of a model that predicts the velocity.
pub fn predicts_velocity(header: &Header) -> bool {
    has_mark(header, "v_pred")
}

/// Whether the file has ComfyUI's mark of a model whose schedule ends in pure noise ("zero terminal SNR").
pub fn ends_in_pure_noise(header: &Header) -> bool {
    has_mark(header, "ztsnr")
}

/// ComfyUI's marks are tensors without content, beside the UNet's or among them.
fn has_mark(header: &Header, name: &str) -> bool {
    header.has(name) || header.has(&format!("{UNET}{name}"))
}

/// The size of one dimension of a tensor.
fn size(header: &Header, key: &str, dimension: usize) -> Result<usize, ModelError> {
    let size = header.shape(key).and_then(|shape| shape.get(dimension)).copied();
    size.ok_or_else(|| {
        let reason = format!("`{key}` is missing or has no dimension {dimension}");
        ModelError::NotLdm { path: header.path().into(), reason, hint: hint(header) }
    })
}

/// What a file seems to be instead of a whole model; empty if unknown.
fn hint(header: &Header) -> &'static str {
    if header.has_under("conditioner.embedders.") {
        "; it is a Stable Diffusion XL model, which is not supported"
    } else if header.tensors().keys().any(|key| key.contains("lora")) {
        "; it is an adapter, not a whole model"
    } else if header.has("conv_in.weight") {
        "; it is one part of a diffusers model: use the model's folder instead"
    } else {
        ""
    }
}

/// One level of the UNet's down blocks.
#[derive(Default)]
struct UNetLevel {
    channels: usize,
    resnets: usize,
    attends: bool,
}

fn unet(header: &Header, family: Family) -> Result<Value, ModelError> {
    let key = |name: &str| format!("{UNET}{name}");
    let in_channels = size(header, &key("input_blocks.0.0.weight"), 1)?;
    let mut levels = vec![UNetLevel::default()];
    for number in 1.. {
        let block = key(&format!("input_blocks.{number}"));
        let resnet = format!("{block}.0.out_layers.3.weight");
        let level = levels.last_mut().expect("it starts with one level");
        if header.has(&format!("{block}.0.op.weight")) {
            levels.push(UNetLevel::default());
        } else if header.has(&resnet) || level.resnets == 0 {
            level.channels = size(header, &resnet, 0)?;
            level.resnets += 1;
            level.attends |= header.has(&format!("{block}.1.norm.weight"));
        } else {
            break;
        }
    }
    let attention = key("middle_block.1");
    let linear = header.shape(&format!("{attention}.proj_in.weight")).map(<[_]>::len) == Some(2);
    let channels: Vec<usize> = levels.iter().map(|level| level.channels).collect();
    let blocks = |cross: &str, plain: &str| -> Vec<String> {
        levels.iter().map(|l| if l.attends { cross.into() } else { plain.into() }).collect()
    };
    let mut up = blocks("CrossAttnUpBlock2D", "UpBlock2D");
    up.reverse();
    Ok(json!({
        "sample_size": 64,
        "in_channels": in_channels,
        "out_channels": size(header, &key("out.2.weight"), 0)?,
        "block_out_channels": channels,
        "down_block_types": blocks("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": up,
        "layers_per_block": levels[0].resnets,
        "cross_attention_dim":
            size(header, &format!("{attention}.transformer_blocks.0.attn2.to_k.weight"), 1)?,
        "use_linear_projection": linear,
        // The number of heads, under its historical name: 8 in SD1, one per 64 channels in SD2.
        "attention_head_dim": match family {
            Family::Sd1 => json!(8),
            Family::Sd2 => json!(channels.iter().map(|c| c.div_ceil(64)).collect::<Vec<_>>()),
        },
    }))
}

/// The depth of OpenCLIP's ViT-H, whose last block Stable Diffusion 2 does not use.
const OPEN_CLIP_BLOCKS: usize = 24;

fn text_encoder(
    header: &Header,
    family: Family,
    notes: &mut Vec<String>,
) -> Result<Value, ModelError> {
    let text_model =
        if header.has_under(&format!("{CLIP}text_model.")) { "text_model." } else { "" };
    let (tokens, positions, layer, inner, act) = match family {
        Family::Sd1 => (
            format!("{CLIP}{text_model}embeddings.token_embedding.weight"),
            format!("{CLIP}{text_model}embeddings.position_embedding.weight"),
            format!("{CLIP}{text_model}encoder.layers"),
            "mlp.fc1.weight",
            "quick_gelu",
        ),
        Family::Sd2 => (
            format!("{OPEN_CLIP}token_embedding.weight"),
            format!("{OPEN_CLIP}positional_embedding"),
            format!("{OPEN_CLIP}transformer.resblocks"),
            "mlp.c_fc.weight",
            "gelu",
        ),
    };
    let width = size(header, &tokens, 1)?;
    let layers = (0..).take_while(|i| header.has(&format!("{layer}.{i}.{inner}"))).count();
    // The original files have the projection and all blocks; files converted from diffusers have neither
    // the projection nor, usually, the last block.
    let projection = header.has(&format!("{OPEN_CLIP}text_projection"));
    let spare = family == Family::Sd2 && (projection || layers == OPEN_CLIP_BLOCKS);
    if spare && !projection {
        notes.push(format!(
            "{} has {layers} blocks in its text encoder; as in all Stable Diffusion 2 models, the last one \
             is not used",
            header.path().display()
        ));
    }
    Ok(json!({
        "vocab_size": size(header, &tokens, 0)?,
        "hidden_size": width,
        "intermediate_size": size(header, &format!("{layer}.0.{inner}"), 0)?,
        "num_hidden_layers": layers.saturating_sub(spare.into()),
        "num_attention_heads": width.div_ceil(64),
        "max_position_embeddings": size(header, &positions, 0)?,
        "hidden_act": act,
    }))
}

fn vae(header: &Header) -> Result<Value, ModelError> {
    let conv = |level: usize, block: usize| {
        format!("{VAE}encoder.down.{level}.block.{block}.conv1.weight")
    };
    let mut channels = vec![size(header, &conv(0, 0), 0)?];
    while header.has(&conv(channels.len(), 0)) {
        channels.push(size(header, &conv(channels.len(), 0), 0)?);
    }
    Ok(json!({
        "in_channels": size(header, &format!("{VAE}encoder.conv_in.weight"), 1)?,
        "out_channels": size(header, &format!("{VAE}decoder.conv_out.weight"), 0)?,
        "latent_channels": size(header, &format!("{VAE}post_quant_conv.weight"), 0)?,
        "down_block_types": vec!["DownEncoderBlock2D"; channels.len()],
        "up_block_types": vec!["UpDecoderBlock2D"; channels.len()],
        "layers_per_block": (0..).take_while(|block| header.has(&conv(0, *block))).count(),
        "block_out_channels": channels,
        "scaling_factor": 0.18215,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clip::ClipTextConfig;
    use crate::unet::UNetConfig;
    use crate::vae::VaeConfig;
    use crate::weights::Activation;
    use crate::weights::PerLevel;

    /// The tensors that determine the sizes of SD1.5 (width 768) and SD2.1 (width 1024), as in the
    /// published files.
    fn published(family: Family, projection: bool) -> Header {
        let sd1 = family == Family::Sd1;
        let (width, layers) = if sd1 { (768, 12) } else { (1024, 24) };
        let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |key: String, shape: &[usize]| tensors.push((key, shape.to_vec()));
        let resnets = [(1, 320), (2, 320), (4, 640), (5, 640), (7, 1280), (8, 1280)];
        for (number, channels) in resnets.into_iter().chain([(10, 1280), (11, 1280)]) {
            let block = format!("{UNET}input_blocks.{number}");
            add(format!("{block}.0.out_layers.3.weight"), &[channels, channels, 3, 3]);
            if number < 10 {
                add(format!("{block}.1.norm.weight"), &[channels]);
            }
        }
        for number in [3, 6, 9] {
            add(format!("{UNET}input_blocks.{number}.0.op.weight"), &[1, 1, 3, 3]);
        }
        add(format!("{UNET}input_blocks.0.0.weight"), &[320, 4, 3, 3]);
        add(format!("{UNET}out.2.weight"), &[4, 320, 3, 3]);
        let attention = format!("{UNET}middle_block.1");
        let key = format!("{attention}.transformer_blocks.0.attn2.to_k.weight");
        add(key, &[1280, width]);
        let shape = [1280, 1280, 1, 1];
        add(format!("{attention}.proj_in.weight"), if sd1 { &shape } else { &shape[..2] });
        for (level, channels) in [128, 256, 512, 512].into_iter().enumerate() {
            for block in 0..2 {
                let key = format!("{VAE}encoder.down.{level}.block.{block}.conv1.weight");
                add(key, &[channels, channels, 3, 3]);
            }
        }
        add(format!("{VAE}encoder.conv_in.weight"), &[128, 3, 3, 3]);
        add(format!("{VAE}decoder.conv_out.weight"), &[3, 128, 3, 3]);
        add(format!("{VAE}post_quant_conv.weight"), &[4, 4, 1, 1]);
        let (embeddings, layer) = match sd1 {
            true => ("transformer.text_model.embeddings", "transformer.text_model.encoder.layers"),
            false => ("model", "model.transformer.resblocks"),
        };
        let (position, fc) = match sd1 {
            true => ("position_embedding.weight", "mlp.fc1.weight"),
            false => ("positional_embedding", "mlp.c_fc.weight"),
        };
        let root = "cond_stage_model";
        add(format!("{root}.{embeddings}.token_embedding.weight"), &[49408, width]);
        add(format!("{root}.{embeddings}.{position}"), &[77, width]);
        for number in 0..layers {
            add(format!("{root}.{layer}.{number}.{fc}"), &[4 * width, width]);
        }
        if projection {
            add(format!("{OPEN_CLIP}text_projection"), &[1024, 1024]);
        }
        Header::of(tensors)
    }

    fn configs(family: Family, projection: bool) -> (UNetConfig, ClipTextConfig, VaeConfig) {
        let inferred = infer(&published(family, projection)).unwrap();
        assert_eq!(inferred.family, family);
        assert_eq!(inferred.notes.is_empty(), projection || family == Family::Sd1);
        let [unet, clip, vae] = inferred.configs.map(|config| config.to_string());
        let file = Path::new("x");
        (
            UNetConfig::parse(&unet, file).unwrap(),
            ClipTextConfig::parse(&clip, file).unwrap(),
            VaeConfig::parse(&vae, file).unwrap(),
        )
    }

    /// The numbers are those of the repositories' config.json.
    #[test]
    fn the_published_models_are_recognised() {
        let (unet, clip, vae) = configs(Family::Sd1, false);
        let sd15 = UNetConfig { cross_attention_dim: 768, ..UNetConfig::default() };
        assert_eq!(unet, sd15);
        let vit_l = ClipTextConfig {
            hidden_size: 768,
            intermediate_size: 3072,
            num_attention_heads: 12,
            ..ClipTextConfig::default()
        };
        assert_eq!(clip, vit_l);
        let expected = VaeConfig {
            block_out_channels: vec![128, 256, 512, 512],
            down_block_types: vec!["DownEncoderBlock2D".into(); 4],
            up_block_types: vec!["UpDecoderBlock2D".into(); 4],
            layers_per_block: 2,
            ..VaeConfig::default()
        };
        assert_eq!(vae, expected);

        let (unet, clip, _) = configs(Family::Sd2, true);
        let sd21 = UNetConfig {
            cross_attention_dim: 1024,
            use_linear_projection: true,
            attention_head_dim: PerLevel::Each(vec![5, 10, 20, 20]),
            ..sd15
        };
        assert_eq!(unet, sd21);
        let vit_h = ClipTextConfig {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_attention_heads: 16,
            num_hidden_layers: 23,
            hidden_act: Activation::Gelu,
            ..ClipTextConfig::default()
        };
        assert_eq!(clip, vit_h);
        let (_, clip, _) = configs(Family::Sd2, false);
        assert_eq!(
            clip.num_hidden_layers, 23,
            "the last block is not used without a projection either"
        );
    }

    #[test]
    fn what_is_missing_and_what_it_may_be_is_said() {
        let of = |key: &str| infer(&Header::of([(key.to_string(), vec![1])])).unwrap_err();
        let error = of("conditioner.embedders.0.x").to_string();
        assert!(error.contains("input_blocks.0.0.weight") && error.contains("XL"), "{error}");
        assert!(of("lora_unet_mid.lora_up.weight").to_string().contains("adapter"));
        assert!(of("conv_in.weight").to_string().contains("folder"));
    }
}
