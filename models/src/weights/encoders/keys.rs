//! The key names of image and text encoders, and our module paths for them.

use crate::weights::KeyTable;

/// Names of the projections of a layer that transformers writes in CLIP and DINOv3, and we do not.
macro_rules! with_projections {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            ("self_attn.q_proj", "self_attn.to_q"),
            ("self_attn.k_proj", "self_attn.to_k"),
            ("self_attn.v_proj", "self_attn.to_v"),
            ("self_attn.out_proj", "self_attn.to_out"),
            ("mlp.fc1", "fc1"),
            ("mlp.fc2", "fc2"),
        ]
    };
}

/// Names inside a block of OpenCLIP, whose projections are one tensor.
macro_rules! with_blocks {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("attn.q_proj", "self_attn.to_q"),
            ("attn.k_proj", "self_attn.to_k"),
            ("attn.v_proj", "self_attn.to_v"),
            ("attn.out_proj", "self_attn.to_out"),
            ("mlp.c_fc", "fc1"),
            ("mlp.c_proj", "fc2"),
        ]
    };
}

impl KeyTable {
    /// `Dinov2Model` of transformers, with or without registers.
    pub const DINO_V2: Self = Self {
        segments: &[
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "position_embeddings"),
            ("embeddings.register_tokens", "register_tokens"),
            ("embeddings.patch_embeddings.projection", "patch_embedding"),
            ("encoder.layer", "layers"),
            ("attention.attention.query", "self_attn.to_q"),
            ("attention.attention.key", "self_attn.to_k"),
            ("attention.attention.value", "self_attn.to_v"),
            ("attention.output.dense", "self_attn.to_out"),
            ("mlp.fc1", "fc1"),
            ("mlp.fc2", "fc2"),
            ("mlp.gate", "fc_gate"),
            ("mlp.up", "fc1"),
            ("mlp.weights_out", "fc2"),
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("layer_scale1.lambda1", "layer_scale1"),
            ("layer_scale2.lambda1", "layer_scale2"),
            ("layernorm", "norm"),
        ],
        ignored: &["embeddings.mask_token"],
        ..Self::SAME
    };

    /// `DINOv3ViTModel` of transformers.
    pub const DINO_V3: Self = Self {
        optional_prefix: "model.",
        segments: &[
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.register_tokens", "register_tokens"),
            ("embeddings.patch_embeddings", "patch_embedding"),
            ("layer", "layers"),
            ("attention.q_proj", "self_attn.to_q"),
            ("attention.k_proj", "self_attn.to_k"),
            ("attention.v_proj", "self_attn.to_v"),
            ("attention.o_proj", "self_attn.to_out"),
            ("mlp.gate_proj", "fc_gate"),
            ("mlp.up_proj", "fc1"),
            ("mlp.down_proj", "fc2"),
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("layer_scale1.lambda1", "layer_scale1"),
            ("layer_scale2.lambda1", "layer_scale2"),
        ],
        ignored: &["embeddings.mask_token", "rope_embeddings.inv_freq"],
        ..Self::SAME
    };

    /// The image half of transformers' `CLIPModel`.
    pub const CLIP_VISION: Self = Self {
        optional_prefix: "vision_model.",
        segments: with_projections![
            ("embeddings.class_embedding", "cls_token"),
            ("embeddings.position_embedding.weight", "position_embeddings"),
            ("embeddings.patch_embedding", "patch_embedding"),
            ("encoder.layers", "layers"),
            ("pre_layrnorm", "pre_norm"),
            ("post_layernorm", "norm"),
            ("visual_projection", "projection"),
        ],
        ignored: &["embeddings.position_ids", "text_model.", "text_projection.", "logit_scale"],
        ..Self::SAME
    };

    /// The text half of transformers' `CLIPModel`, with its projection.
    pub const CLIP_TEXT_PROJECTED: Self = Self {
        optional_prefix: "text_model.",
        segments: with_projections![
            ("embeddings.token_embedding", "encoder.token_embedding"),
            ("embeddings.position_embedding", "encoder.position_embedding"),
            ("final_layer_norm", "encoder.final_layer_norm"),
            ("text_projection", "projection"),
        ],
        ignored: &["embeddings.position_ids", "vision_model.", "visual_projection.", "logit_scale"],
        ..Self::SAME
    };

    /// timm's `VisionTransformer` and `Eva`, and the original code of DINO and DINOv2.
    pub const TIMM: Self = Self { segments: TIMM, ignored: &["mask_token"], ..Self::SAME };

    /// DreamSim's CLIP towers: timm's names, with `pos_drop` for the normalisation before the layers.
    pub const DREAMSIM: Self = Self {
        segments: TIMM,
        older: &[("pos_drop", "pre_norm"), ("proj", "projection.weight")],
        transposed: &["projection.weight"],
        ..Self::SAME
    };

    /// The image half of OpenCLIP's and OpenAI's CLIP.
    pub const OPEN_CLIP_VISION: Self = Self {
        required_prefix: "visual.",
        segments: with_blocks![
            ("class_embedding", "cls_token"),
            ("positional_embedding", "position_embeddings"),
            ("conv1", "patch_embedding"),
            ("transformer.resblocks", "layers"),
            ("ln_pre", "pre_norm"),
            ("ln_post", "norm"),
            ("proj", "projection.weight"),
        ],
        transposed: &["projection.weight"],
        ..Self::SAME
    };

    /// The text half of OpenCLIP's and OpenAI's CLIP.
    pub const OPEN_CLIP_TEXT: Self = Self {
        segments: with_blocks![
            ("token_embedding", "encoder.token_embedding"),
            ("positional_embedding", "encoder.position_embedding.weight"),
            ("transformer.resblocks", "encoder.layers"),
            ("ln_final", "encoder.final_layer_norm"),
            ("text_projection", "projection.weight"),
        ],
        ignored: &[
            "visual.",
            "logit_scale",
            "logit_bias",
            "attn_mask",
            "input_resolution",
            "context_length",
            "vocab_size",
        ],
        transposed: &["projection.weight"],
        ..Self::SAME
    };
}

const TIMM: &[(&str, &str)] = &[
    ("pos_embed", "position_embeddings"),
    ("reg_token", "register_tokens"),
    ("patch_embed.proj", "patch_embedding"),
    ("blocks", "layers"),
    ("norm_pre", "pre_norm"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("attn.q", "self_attn.to_q"),
    ("attn.k", "self_attn.to_k"),
    ("attn.v", "self_attn.to_v"),
    ("attn.proj", "self_attn.to_out"),
    ("mlp.fc1", "fc1"),
    ("mlp.fc2", "fc2"),
    ("ls1.gamma", "layer_scale1"),
    ("ls2.gamma", "layer_scale2"),
    ("gamma_1", "layer_scale1"),
    ("gamma_2", "layer_scale2"),
    ("head", "projection"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of published files.
    #[test]
    fn keys_lead_to_our_paths() {
        let cases = [
            (
                KeyTable::DINO_V2,
                "encoder.layer.3.attention.output.dense.bias",
                "layers.3.self_attn.to_out.bias",
            ),
            (KeyTable::DINO_V2, "encoder.layer.3.layer_scale2.lambda1", "layers.3.layer_scale2"),
            (
                KeyTable::DINO_V3,
                "layer.11.attention.o_proj.weight",
                "layers.11.self_attn.to_out.weight",
            ),
            (KeyTable::DINO_V3, "layer.0.layer_scale1.lambda1", "layers.0.layer_scale1"),
            (KeyTable::DINO_V3, "norm.bias", "norm.bias"),
            (KeyTable::CLIP_VISION, "vision_model.pre_layrnorm.bias", "pre_norm.bias"),
            (KeyTable::CLIP_VISION, "visual_projection.weight", "projection.weight"),
            (
                KeyTable::CLIP_TEXT_PROJECTED,
                "text_model.encoder.layers.0.mlp.fc2.bias",
                "encoder.layers.0.fc2.bias",
            ),
            (KeyTable::TIMM, "blocks.7.attn.proj.weight", "layers.7.self_attn.to_out.weight"),
            (KeyTable::TIMM, "blocks.7.ls1.gamma", "layers.7.layer_scale1"),
            (KeyTable::DREAMSIM, "pos_drop.weight", "pre_norm.weight"),
            (KeyTable::DREAMSIM, "proj", "projection.weight"),
            (KeyTable::DREAMSIM, "patch_embed.proj.weight", "patch_embedding.weight"),
            (KeyTable::OPEN_CLIP_VISION, "visual.proj", "projection.weight"),
            (
                KeyTable::OPEN_CLIP_VISION,
                "visual.transformer.resblocks.1.mlp.c_proj.bias",
                "layers.1.fc2.bias",
            ),
            (
                KeyTable::OPEN_CLIP_TEXT,
                "transformer.resblocks.1.attn.k_proj.bias",
                "encoder.layers.1.self_attn.to_k.bias",
            ),
        ];
        for (table, theirs, ours) in cases {
            assert_eq!(table.ours(theirs).as_deref(), Some(ours));
        }
    }

    /// Both halves of CLIP are in one file.
    #[test]
    fn each_half_leaves_the_other_one_alone() {
        let theirs = [
            (KeyTable::CLIP_VISION, "text_model.encoder.layers.0.mlp.fc2.bias"),
            (KeyTable::CLIP_TEXT_PROJECTED, "vision_model.embeddings.class_embedding"),
            (KeyTable::OPEN_CLIP_VISION, "transformer.resblocks.1.ln_1.bias"),
            (KeyTable::OPEN_CLIP_TEXT, "visual.transformer.resblocks.1.ln_1.bias"),
        ];
        for (table, key) in theirs {
            assert_eq!(table.ours(key), None, "{key}");
        }
    }
}
