//! Adapters and embeddings of kinds that are not read, as far as their keys tell.

use super::Source;

const XL: &str = "it is for Stable Diffusion XL, and models here are Stable Diffusion 1.x and 2.x";
const INVERSION: &str = "it is a textual inversion, which can give an imported adapter its words";

const PEFT: &str = "it is the weights of a PEFT folder; give the folder, which has their scale";
const DORA: &str = "it is a DoRA, which also scales columns of the weights; plain LoRAs are read";

/// Parts of keys, and what has them.
const KINDS: [(&str, &str); 16] = [
    ("lora_te2_", XL),
    ("text_encoder_2.", XL),
    ("lora_unet_input_blocks_", XL),
    ("bundle_emb.", "it bundles a LoRA with textual inversions, for A1111's web interface"),
    ("string_to_param", INVERSION),
    ("emb_params", INVERSION),
    ("custom_diffusion", "it is Custom Diffusion's, whole matrices and no LoRA"),
    (".hada_w", "it is a LoHa; plain LoRAs are read"),
    (".lokr_w", "it is a LoKr; plain LoRAs are read"),
    (".lora_mid.", "its convolutions have three factors (LoCon with Tucker's decomposition)"),
    (".dora_scale", DORA),
    (".lora_magnitude_vector", DORA),
    (".oft_", "it is an OFT, which rotates weights; plain LoRAs are read"),
    (".boft_", "it is a BOFT, which rotates weights; plain LoRAs are read"),
    (".ia3_l", "it is an IA3, which scales activations; plain LoRAs are read"),
    ("base_model.model.", PEFT),
];

/// What it is, if it is known and not read.
pub fn unread_kind(source: &Source) -> Option<&'static str> {
    let Source::File(header) = source else { return None };
    let has = |part: &str| header.tensors().keys().any(|key| key.contains(part));
    KINDS.into_iter().find(|(part, _)| has(part)).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::open;
    use crate::bank::tensors::write_arrays;

    #[test]
    fn refusals_tell_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.safetensors");
        let refused = |key: &str| {
            let tensors = BTreeMap::from([(key.to_string(), (vec![1, 1], vec![0.0]))]);
            write_arrays(&file, &tensors, BTreeMap::new()).unwrap();
            open(&file).unwrap_err().to_string()
        };
        let error = refused("lora_te2_text_model_encoder_layers_0_mlp_fc1.dora_scale");
        assert!(error.contains("Stable Diffusion XL"), "{error}");
        assert!(refused("emb_params").contains("textual inversion"));
        assert!(refused("lora_unet_mid_block_x.hada_w1_a").contains("a.safetensors: it is a LoHa"));
        assert!(refused("unet.mid_block.x.lora_magnitude_vector").contains("DoRA"));
        let weights = refused("base_model.model.mid_block.x.lora_A.weight");
        assert!(weights.contains("PEFT folder") && weights.contains("give the folder"));
        assert!(refused("weight").contains("of another kind"));
    }
}
