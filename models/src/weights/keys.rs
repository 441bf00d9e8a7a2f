//! The key names of diffusers and transformers, and our module paths for them.

/// The differences between a component's keys in a checkpoint and our module paths.
#[derive(Debug, Clone, Copy)]
pub struct KeyTable {
    /// A prefix without which a key belongs to another component.
    pub(super) required_prefix: &'static str,
    /// A prefix that only some versions of the library write.
    pub(super) optional_prefix: &'static str,
    /// Path segments: theirs and ours.
    pub(super) segments: &'static [(&'static str, &'static str)],
    /// Path segments that older versions wrote: theirs and ours.
    pub(super) older: &'static [(&'static str, &'static str)],
    /// Keys that are not parameters; an entry that ends with a dot stands for all keys under it.
    pub(super) ignored: &'static [&'static str],
    /// Our paths of matrices that are stored as `[inputs, outputs]`.
    pub(super) transposed: &'static [&'static str],
}

impl KeyTable {
    /// A table that changes nothing.
    pub(super) const SAME: Self = Self {
        required_prefix: "",
        optional_prefix: "",
        segments: &[],
        older: &[],
        ignored: &[],
        transposed: &[],
    };

    /// The UNet of diffusers.
    pub const UNET: Self = Self {
        segments: &[
            ("to_out.0", "to_out"),
            ("ff.net.0.proj", "ff.proj"),
            ("ff.net.2", "ff.output"),
            ("downsamplers.0", "downsample"),
            ("upsamplers.0", "upsample"),
        ],
        ..Self::SAME
    };

    /// The VAE of diffusers, whose attention had other names before version 0.17.
    pub const VAE: Self = Self {
        segments: &[
            ("to_out.0", "to_out"),
            ("downsamplers.0", "downsample"),
            ("upsamplers.0", "upsample"),
        ],
        older: &[("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out")],
        ..Self::SAME
    };

    /// The CLIP text encoder of transformers, whose keys had the prefix `text_model.` before version 5.
    pub const CLIP_TEXT: Self = Self {
        optional_prefix: "text_model.",
        segments: &[
            ("embeddings.token_embedding", "token_embedding"),
            ("embeddings.position_embedding", "position_embedding"),
            ("encoder.layers", "layers"),
            ("self_attn.q_proj", "self_attn.to_q"),
            ("self_attn.k_proj", "self_attn.to_k"),
            ("self_attn.v_proj", "self_attn.to_v"),
            ("self_attn.out_proj", "self_attn.to_out"),
            ("mlp.fc1", "fc1"),
            ("mlp.fc2", "fc2"),
        ],
        ignored: &["embeddings.position_ids"],
        ..Self::SAME
    };

    /// The vision transformer of transformers, such as DINO's, without its pooler.
    pub const VIT: Self = Self {
        segments: &[
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "position_embeddings"),
            ("embeddings.patch_embeddings.projection", "patch_embedding"),
            ("encoder.layer", "layers"),
            ("attention.attention.query", "self_attn.to_q"),
            ("attention.attention.key", "self_attn.to_k"),
            ("attention.attention.value", "self_attn.to_v"),
            ("attention.output.dense", "self_attn.to_out"),
            ("intermediate.dense", "fc1"),
            ("output.dense", "fc2"),
            ("layernorm_before", "layer_norm1"),
            ("layernorm_after", "layer_norm2"),
            ("layernorm", "norm"),
        ],
        ignored: &["pooler."],
        ..Self::SAME
    };

    /// Our module path for a checkpoint's key; `None` if the key is not a parameter.
    pub fn ours(&self, key: &str) -> Option<String> {
        let key = key.strip_prefix(self.required_prefix)?;
        let key = key.strip_prefix(self.optional_prefix).unwrap_or(key);
        let table = self.segments.iter().chain(self.older);
        let translate = |key, (theirs, ours): &(&str, &str)| replace_segments(key, theirs, ours);
        let is_ignored =
            |entry: &&str| key == *entry || (entry.ends_with('.') && key.starts_with(entry));
        (!self.ignored.iter().any(is_ignored)).then(|| table.fold(key.to_string(), translate))
    }

    /// The checkpoint's key for our module path, in the current version of the library.
    pub fn theirs(&self, path: &str) -> String {
        let translate = |path, (theirs, ours): &(&str, &str)| replace_segments(path, ours, theirs);
        let name = self.segments.iter().fold(path.to_string(), translate);
        format!("{}{name}", self.required_prefix)
    }

    /// Whether our path's matrix is stored as `[inputs, outputs]`.
    pub fn is_transposed(&self, path: &str) -> bool {
        self.transposed.contains(&path)
    }
}

/// Replaces `from` by `to` if it occurs as whole segments between dots.
pub(super) fn replace_segments(key: String, from: &str, to: &str) -> String {
    let dotted = format!(".{key}.");
    let replaced = dotted.replacen(&format!(".{from}."), &format!(".{to}."), 1);
    replaced.trim_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_translate_both_ways() {
        let cases = [
            (
                KeyTable::UNET,
                "up_blocks.1.upsamplers.0.conv.bias",
                "up_blocks.1.upsample.conv.bias",
            ),
            (KeyTable::UNET, "a.attn1.to_out.0.weight", "a.attn1.to_out.weight"),
            (KeyTable::UNET, "a.ff.net.2.weight", "a.ff.output.weight"),
            (KeyTable::VAE, "m.attentions.0.to_q.weight", "m.attentions.0.to_q.weight"),
            (KeyTable::CLIP_TEXT, "encoder.layers.1.mlp.fc1.bias", "layers.1.fc1.bias"),
            (KeyTable::VIT, "encoder.layer.0.output.dense.bias", "layers.0.fc2.bias"),
            (KeyTable::VIT, "layernorm.weight", "norm.weight"),
            (
                KeyTable::VIT,
                "encoder.layer.11.attention.output.dense.weight",
                "layers.11.self_attn.to_out.weight",
            ),
        ];
        for (table, theirs, ours) in cases {
            assert_eq!(table.ours(theirs).as_deref(), Some(ours));
            assert_eq!(table.theirs(ours), theirs);
        }
    }

    #[test]
    fn older_names_are_understood() {
        let old = "decoder.mid_block.attentions.0.proj_attn.weight";
        assert_eq!(
            KeyTable::VAE.ours(old).as_deref(),
            Some("decoder.mid_block.attentions.0.to_out.weight")
        );
        let prefixed = "text_model.embeddings.token_embedding.weight";
        assert_eq!(KeyTable::CLIP_TEXT.ours(prefixed).as_deref(), Some("token_embedding.weight"));
        assert_eq!(KeyTable::CLIP_TEXT.ours("text_model.embeddings.position_ids"), None);
    }
}
