//! The sizes of an encoder in timm's, the original or OpenCLIP's layout, from the shapes in its file.
//!
//! Shapes do not tell the number of heads, the activation and ε. Heads have 64 channels in all published
//! models of these layouts but OpenCLIP's ViT-H, g and G, which have 16 heads; the rest follows from the
//! kind of model, or from `open_clip_config.json`.

use serde::Deserialize;

use crate::clip::ClipTextConfig;
use crate::vit::{Resampling, VitConfig};
use crate::weights::{Activation, Header, KeyTable};

/// `open_clip_config.json`, as far as shapes do not tell the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpenClipConfig {
    model_cfg: OpenClipModel,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OpenClipModel {
    quick_gelu: bool,
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OpenClipVision {
    head_width: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OpenClipText {
    heads: Option<usize>,
}

/// Channels of a head, where nothing else is said.
const HEAD: usize = 64;

/// An image encoder in timm's or the original layout. DreamSim's copies of CLIP have `pos_drop`.
pub(super) fn timm(header: &Header) -> Option<Result<(VitConfig, KeyTable), String>> {
    let dreamsim = header.has("pos_drop.weight");
    header.has("patch_embed.proj.weight").then(|| {
        let [width, _, patch, _] = shape(header, "patch_embed.proj.weight")?;
        let registers = ["reg_token", "register_tokens"].into_iter().find(|key| header.has(key));
        let registers = registers.map_or(Ok(0), |key| shape(header, key).map(|[_, n, _]| n))?;
        let rotary = !header.has("pos_embed");
        let tokens = match rotary {
            true => 1,
            false => shape::<3>(header, "pos_embed").map(|[_, tokens, _]| tokens)?,
        };
        let layer_scale = header.has("blocks.0.ls1.gamma") || header.has("blocks.0.gamma_1");
        let pre_norm = dreamsim || header.has("norm_pre.weight");
        let projection = match (dreamsim, header.has("head.weight")) {
            (true, _) => Some(shape(header, "proj").map(|[_, outputs]| outputs)?),
            (false, true) => Some(shape(header, "head.weight").map(|[outputs, _]| outputs)?),
            (false, false) => None,
        };
        let config = VitConfig {
            hidden_size: width,
            num_hidden_layers: layers(header, "blocks", "norm1.weight"),
            num_attention_heads: width.div_ceil(HEAD),
            intermediate_size: shape(header, "blocks.0.mlp.fc1.weight").map(|[rows, _]| rows)?,
            image_size: side(tokens)?.saturating_mul(patch),
            patch_size: patch,
            qkv_bias: header.has("blocks.0.attn.qkv.bias"),
            layer_norm_eps: if rotary || pre_norm { 1e-5 } else { 1e-6 },
            patch_bias: header.has("patch_embed.proj.bias"),
            num_register_tokens: registers,
            layer_scale,
            pre_norm,
            rope_theta: rotary.then_some(100.0),
            projection_dim: projection,
            projection_bias: header.has("head.bias"),
            resampling: if registers > 0 { Resampling::Antialiased } else { Resampling::Size },
            ..VitConfig::default()
        };
        Ok((config, if dreamsim { KeyTable::DREAMSIM } else { KeyTable::TIMM }))
    })
}

/// The image half of an OpenCLIP model.
pub(super) fn open_clip_vision(
    header: &Header,
    config: &OpenClipConfig,
) -> Option<Result<VitConfig, String>> {
    header.has("visual.conv1.weight").then(|| {
        let [width, _, patch, _] = shape(header, "visual.conv1.weight")?;
        let [tokens, _] = shape(header, "visual.positional_embedding")?;
        let [_, outputs] = shape(header, "visual.proj")?;
        let first = "visual.transformer.resblocks.0.mlp.c_fc.weight";
        let heads = match (config.model_cfg.vision_cfg.head_width, width) {
            (Some(head), _) => width / head.max(1),
            (None, 1280 | 1408 | 1664) => 16,
            (None, _) => width.div_ceil(HEAD),
        };
        Ok(VitConfig {
            hidden_size: width,
            num_hidden_layers: layers(header, "visual.transformer.resblocks", "ln_1.weight"),
            num_attention_heads: heads,
            intermediate_size: shape(header, first).map(|[rows, _]| rows)?,
            image_size: side(tokens)?.saturating_mul(patch),
            patch_size: patch,
            layer_norm_eps: 1e-5,
            hidden_act: config.activation(),
            patch_bias: false,
            pre_norm: true,
            projection_dim: Some(outputs),
            ..VitConfig::default()
        })
    })
}

/// The text half of an OpenCLIP model, and the width of its projection.
pub(super) fn open_clip_text(
    header: &Header,
    config: &OpenClipConfig,
) -> Option<Result<(ClipTextConfig, usize), String>> {
    header.has("text_projection").then(|| {
        let [vocabulary, width] = shape(header, "token_embedding.weight")?;
        let [positions, _] = shape(header, "positional_embedding")?;
        let [_, outputs] = shape(header, "text_projection")?;
        let first = "transformer.resblocks.0.mlp.c_fc.weight";
        let text = ClipTextConfig {
            vocab_size: vocabulary,
            hidden_size: width,
            intermediate_size: shape(header, first).map(|[rows, _]| rows)?,
            num_hidden_layers: layers(header, "transformer.resblocks", "ln_1.weight"),
            num_attention_heads: config.model_cfg.text_cfg.heads.unwrap_or(width.div_ceil(HEAD)),
            max_position_embeddings: positions,
            hidden_act: config.activation(),
            layer_norm_eps: 1e-5,
        };
        Ok((text, outputs))
    })
}

impl OpenClipConfig {
    fn activation(&self) -> Activation {
        if self.model_cfg.quick_gelu { Activation::QuickGelu } else { Activation::Gelu }
    }
}

/// The shape of a tensor that has D dimensions.
fn shape<const D: usize>(header: &Header, key: &str) -> Result<[usize; D], String> {
    match header.shape(key) {
        Some(found) => found
            .try_into()
            .map_err(|_| format!("`{key}` has shape {found:?}, expected {D} dimensions")),
        None => Err(format!("`{key}` is missing")),
    }
}

/// How many layers are numbered from 0 on.
fn layers(header: &Header, blocks: &str, inside: &str) -> usize {
    (0..=128).take_while(|number| header.has(&format!("{blocks}.{number}.{inside}"))).count()
}

/// Rows of patches, from the number of tokens with the class token; 14 without position embeddings.
fn side(tokens: usize) -> Result<usize, String> {
    if tokens == 1 {
        return Ok(14);
    }
    let side = tokens.saturating_sub(1).isqrt();
    match side * side + 1 == tokens {
        true => Ok(side),
        false => Err(format!(
            "it has position embeddings for {tokens} tokens, which are no class token and a square of patches"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tensors: &[(&str, &[usize])]) -> Header {
        Header::of(tensors.iter().map(|(key, shape)| (key.to_string(), shape.to_vec())))
    }

    /// The tensors that determine HPSv2's sizes.
    #[test]
    fn hpsv2_is_a_vit_h() {
        let blocks: Vec<String> =
            (0..32).map(|n| format!("visual.transformer.resblocks.{n}.ln_1.weight")).collect();
        let mut tensors: Vec<(&str, &[usize])> =
            blocks.iter().map(|key| (key.as_str(), &[1280][..])).collect();
        tensors.extend([
            ("visual.conv1.weight", &[1280, 3, 14, 14][..]),
            ("visual.positional_embedding", &[257, 1280]),
            ("visual.proj", &[1280, 1024]),
            ("visual.transformer.resblocks.0.mlp.c_fc.weight", &[5120, 1280]),
        ]);
        let found = open_clip_vision(&header(&tensors), &OpenClipConfig::default());
        let config = found.unwrap().unwrap();
        assert_eq!((config.num_hidden_layers, config.num_attention_heads), (32, 16));
        assert_eq!((config.image_size, config.intermediate_size), (224, 5120));
        assert_eq!((config.outputs(), config.hidden_act), (1024, Activation::Gelu));
        config.check().unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let tensors: [(&str, &[usize]); 3] = [
            ("patch_embed.proj.weight", &[64, 3, 8, 8]),
            ("pos_embed", &[1, 18, 64]),
            ("blocks.0.mlp.fc1.weight", &[64, 64]),
        ];
        let error = timm(&header(&tensors)).unwrap().unwrap_err();
        assert!(error.contains("18 tokens"), "{error}");
        let error = timm(&header(&tensors[..1])).unwrap().map(|_| ()).unwrap_err();
        assert!(error.contains("fc1"), "{error}");
        assert!(timm(&header(&[])).is_none());
    }
}
