//! Weights that are stored in one tensor, one below the other.

/// A part of a tensor: one of `count` equal slices along the first dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) index: usize,
    pub(super) count: usize,
}

/// The ends of keys of fused tensors, and the names of their slices in their place.
///
/// OpenCLIP and timm fuse query, key and value, and the largest DINOv2 its gate and its first
/// feed-forward layer.
const FUSED: [(&str, &str, &[&str]); 6] = [
    ("in_proj_weight", "weight", &["q_proj", "k_proj", "v_proj"]),
    ("in_proj_bias", "bias", &["q_proj", "k_proj", "v_proj"]),
    ("attn.qkv.weight", "weight", &["attn.q", "attn.k", "attn.v"]),
    ("attn.qkv.bias", "bias", &["attn.q", "attn.k", "attn.v"]),
    ("mlp.weights_in.weight", "weight", &["mlp.gate", "mlp.up"]),
    ("mlp.weights_in.bias", "bias", &["mlp.gate", "mlp.up"]),
];

/// The parts of a stored tensor: the key of each, and which slice of the tensor it is, or `None` for all
/// of it.
pub(super) fn parts(key: &str) -> Vec<(String, Option<Slice>)> {
    for (end, kind, names) in FUSED {
        let Some(start) = key.strip_suffix(end) else { continue };
        if !start.is_empty() && !start.ends_with('.') {
            continue;
        }
        let count = names.len();
        let part = |(index, name): (usize, &&str)| {
            (format!("{start}{name}.{kind}"), Some(Slice { index, count }))
        };
        return names.iter().enumerate().map(part).collect();
    }
    vec![(key.to_string(), None)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_have_the_names_of_layers() {
        let names = |key: &str| parts(key).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let open_clip = names("transformer.resblocks.2.attn.in_proj_bias");
        assert_eq!(open_clip[1], "transformer.resblocks.2.attn.k_proj.bias");
        assert_eq!(names("blocks.0.attn.qkv.weight")[2], "blocks.0.attn.v.weight");
        assert_eq!(names("a.mlp.weights_in.bias"), ["a.mlp.gate.bias", "a.mlp.up.bias"]);
        assert_eq!(parts("a.mlp.fc1.bias"), [("a.mlp.fc1.bias".to_string(), None)]);
        assert_eq!(parts("myattn.qkv.bias").len(), 1);
        let slice = parts("attn.qkv.bias")[1].1;
        assert_eq!(slice, Some(Slice { index: 1, count: 3 }));
    }
}
