//! The `config.json` of transformers' image encoders.

use std::path::Path;

use seqlora_files::parse_object;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clip::ClipTextConfig;
use crate::vit::{Resampling, VitConfig};
use crate::weights::{Activation, KeyTable, ModelError, require_defaults};

/// What any of the configs may have, with transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: Option<usize>,
    mlp_ratio: Option<f64>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<Activation>,
    qkv_bias: bool,
    query_bias: bool,
    key_bias: bool,
    num_register_tokens: Option<usize>,
    use_swiglu_ffn: bool,
    use_gated_mlp: bool,
    rope_theta: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: None,
            mlp_ratio: None,
            image_size: None,
            patch_size: None,
            layer_norm_eps: None,
            hidden_act: None,
            qkv_bias: true,
            query_bias: true,
            key_bias: false,
            num_register_tokens: None,
            use_swiglu_ffn: false,
            use_gated_mlp: false,
            rope_theta: 100.0,
        }
    }
}

/// Settings of which only one value is implemented.
const FIXED: &[(&str, &str)] = &[
    ("num_channels", "3"),
    ("pos_embed_rescale", "2.0"),
    ("proj_bias", "true"),
    ("mlp_bias", "true"),
    ("value_bias", "true"),
];

/// The config and the key names of an image encoder; error messages name `file`.
///
/// # Errors
/// If the text is not JSON, the model is not known, or its sizes do not fit each other.
pub(super) fn vision(text: &str, file: &Path) -> Result<(VitConfig, KeyTable), ModelError> {
    let wrong = |reason: String| ModelError::config(file, reason);
    let object: Map<String, Value> = parse_object(text).map_err(wrong)?;
    let kind = object.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let (config, table) = match kind {
        "vit" | "" => return Ok((VitConfig::parse(text, file)?, KeyTable::VIT)),
        "dinov2" => (dino_v2(read(text, file)?, Resampling::Size), KeyTable::DINO_V2),
        "dinov2_with_registers" => {
            let config: Config = read(text, file)?;
            let registers = config.num_register_tokens.unwrap_or(4);
            let config = dino_v2(config, Resampling::Antialiased);
            (VitConfig { num_register_tokens: registers, ..config }, KeyTable::DINO_V2)
        }
        "dinov3_vit" => (dino_v3(read(text, file)?), KeyTable::DINO_V3),
        "clip" | "clip_vision_model" => {
            let vision = object.get("vision_config").map(Value::to_string);
            let projection = object.get("projection_dim").and_then(Value::as_u64).unwrap_or(512);
            let config = clip(read(vision.as_deref().unwrap_or(text), file)?, projection as usize);
            (config, KeyTable::CLIP_VISION)
        }
        other => {
            let reason = format!(
                "`model_type` is {other:?}; expected vit, dinov2, dinov2_with_registers, dinov3_vit or clip"
            );
            return Err(wrong(reason));
        }
    };
    config.check().map_err(wrong)?;
    Ok((config, table))
}

/// The config of CLIP's text half, and the width of its projection.
///
/// # Errors
/// If the text is not JSON, or no CLIP's.
pub(super) fn text_tower(text: &str, file: &Path) -> Result<(ClipTextConfig, usize), ModelError> {
    let wrong = |reason: String| ModelError::config(file, reason);
    let object: Map<String, Value> = parse_object(text).map_err(wrong)?;
    let Some(inner) = object.get("text_config") else {
        return Err(wrong("`text_config` is missing; expected the config of a CLIP model".into()));
    };
    let projection = object.get("projection_dim").and_then(Value::as_u64).unwrap_or(512);
    Ok((ClipTextConfig::parse(&inner.to_string(), file)?, projection as usize))
}

fn read(text: &str, file: &Path) -> Result<Config, ModelError> {
    require_defaults(text, file, FIXED)?;
    parse_object(text).map_err(|reason| ModelError::config(file, reason))
}

fn dino_v2(config: Config, resampling: Resampling) -> VitConfig {
    let width = config.hidden_size;
    // Far over every limit is enough to be refused.
    let inner = (width as f64 * config.mlp_ratio.unwrap_or(4.0)).min(1e9) as usize;
    let gated = config.use_swiglu_ffn;
    VitConfig {
        // Two thirds, so that three matrices have as many numbers as two, in steps of eight.
        intermediate_size: if gated { (inner * 2 / 3).next_multiple_of(8) } else { inner },
        image_size: config.image_size.unwrap_or(224),
        patch_size: config.patch_size.unwrap_or(14),
        layer_norm_eps: config.layer_norm_eps.unwrap_or(1e-6),
        hidden_act: match gated {
            true => Activation::Silu,
            false => config.hidden_act.unwrap_or(Activation::Gelu),
        },
        layer_scale: true,
        gated,
        resampling,
        ..sizes(&config)
    }
}

fn dino_v3(config: Config) -> VitConfig {
    VitConfig {
        intermediate_size: config.intermediate_size.unwrap_or(1536),
        image_size: config.image_size.unwrap_or(224),
        patch_size: config.patch_size.unwrap_or(16),
        layer_norm_eps: config.layer_norm_eps.unwrap_or(1e-5),
        hidden_act: config.hidden_act.unwrap_or(Activation::Gelu),
        qkv_bias: config.query_bias,
        key_bias: config.key_bias,
        num_register_tokens: config.num_register_tokens.unwrap_or(0),
        layer_scale: true,
        gated: config.use_gated_mlp,
        rope_theta: Some(config.rope_theta),
        ..sizes(&config)
    }
}

fn clip(config: Config, projection: usize) -> VitConfig {
    VitConfig {
        intermediate_size: config.intermediate_size.unwrap_or(3072),
        image_size: config.image_size.unwrap_or(224),
        patch_size: config.patch_size.unwrap_or(32),
        layer_norm_eps: config.layer_norm_eps.unwrap_or(1e-5),
        hidden_act: config.hidden_act.unwrap_or(Activation::QuickGelu),
        patch_bias: false,
        pre_norm: true,
        projection_dim: Some(projection),
        ..sizes(&config)
    }
}

fn sizes(config: &Config) -> VitConfig {
    VitConfig {
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        qkv_bias: config.qkv_bias,
        ..VitConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<VitConfig, String> {
        vision(text, Path::new("config.json")).map(|(config, _)| config).map_err(|e| e.to_string())
    }

    /// The sizes of the published models.
    #[test]
    fn configs_of_published_models() {
        let base =
            parse(r#"{"model_type": "dinov2", "image_size": 518, "patch_size": 14}"#).unwrap();
        assert_eq!((base.grid(), base.intermediate_size, base.outputs()), (37, 3072, 768));
        let giant = parse(
            r#"{"model_type": "dinov2", "hidden_size": 1536, "num_attention_heads": 24,
                "image_size": 518, "use_swiglu_ffn": true}"#,
        );
        let giant = giant.unwrap();
        assert!(giant.gated && giant.hidden_act == Activation::Silu);
        assert_eq!(giant.intermediate_size, 4096);
        let clip = parse(
            r#"{"model_type": "clip", "projection_dim": 768,
                "vision_config": {"hidden_size": 1024, "num_attention_heads": 16, "patch_size": 14,
                                  "model_type": "clip_vision_model"}}"#,
        );
        let clip = clip.unwrap();
        assert_eq!((clip.grid(), clip.outputs(), clip.patch_bias), (16, 768, false));
        let v3 = r#"{"model_type": "dinov3_vit", "num_register_tokens": 4, "hidden_size": 384,
                     "num_attention_heads": 6}"#;
        let v3 = parse(v3).unwrap();
        assert_eq!((v3.rope_theta, v3.key_bias, v3.num_register_tokens), (Some(100.0), false, 4));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let other = parse(r#"{"model_type": "swin"}"#).unwrap_err();
        assert!(other.contains("config.json") && other.contains("\"swin\""), "{other}");
        let heads = parse(r#"{"model_type": "dinov3_vit", "num_attention_heads": 7}"#).unwrap_err();
        assert!(heads.contains("`num_attention_heads` is 7"), "{heads}");
        let huge = parse(r#"{"model_type": "dinov2", "mlp_ratio": 1e300}"#).unwrap_err();
        assert!(huge.contains("`intermediate_size`"), "{huge}");
    }
}
