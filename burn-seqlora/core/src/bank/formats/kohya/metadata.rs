//! What a file of kohya's says besides its factors: `ss_*`, by which A1111 tells the base model and lists the
//! file, ModelSpec 1.0.1 (`modelspec.*`), and the digests by which web interfaces find a file again.
//!
//! Only what is known is written; sd-scripts writes the word `None` for the rest.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::{Header, sha256};
use serde_json::json;

use super::super::card::{AdapterCard, TrainingCard};
use crate::bank::tensors::{NamedArrays, arrays_to_bytes};
use crate::error::Result;
use crate::lora::StoredAdapter;

/// The key of the digest of the tensors, and its digits.
const DIGEST: &str = "sshs_model_hash";
const DIGITS: usize = 64;

type Metadata = BTreeMap<String, String>;

/// The bytes of a file that A1111's first digest of models is of: where they begin, and how many they are.
const LEGACY_START: usize = 0x10_0000;
const LEGACY_LENGTH: usize = 0x1_0000;

/// The metadata of a file with these tensors.
///
/// # Errors
/// If the file would have too large a header.
pub fn of(
    file: &Path,
    tensors: &NamedArrays,
    adapter: &StoredAdapter,
    card: &AdapterCard,
) -> Result<Metadata> {
    let mut all = network(adapter, card);
    if let Some(training) = &card.training {
        all.extend(trained(training, adapter));
    }
    // As sd-scripts does it: the digests are those of a file with these keys and no others
    // (`precalculate_safetensors_hashes` in library/train_util.py).
    let digests = digests(&arrays_to_bytes(file, tensors, &all)?);
    all.extend(digests);
    all.extend(model_spec(card));
    Ok(all)
}

/// Whether a file's tensors are others than those that its metadata have the digest of.
///
/// # Errors
/// If the file cannot be read.
pub fn is_changed(header: &Header) -> Result<bool> {
    match header.metadata().get(DIGEST).filter(|digest| digest.len() == DIGITS) {
        Some(digest) => Ok(!digest.eq_ignore_ascii_case(&header.digest_of_tensors()?)),
        None => Ok(false),
    }
}

fn entries<const N: usize>(entries: [(&str, String); N]) -> Metadata {
    entries.into_iter().map(|(key, text)| (key.to_string(), text)).collect()
}

/// What the adapter is for, and its ranks.
fn network(adapter: &StoredAdapter, card: &AdapterCard) -> Metadata {
    let ranks = modules_per_rank(adapter);
    // sd-scripts has one number here; the tensors have each module's own.
    let rank = ranks.keys().max().copied().unwrap_or(0);
    let version = match (card.is_version_2(), card.predicts_v()) {
        (false, _) => "sd_v1",
        (true, false) => "sd_v2",
        (true, true) => "sd_v2_v",
    };
    let version_2 = if card.is_version_2() { "True" } else { "False" };
    let tags = json!({ &card.name: { &card.trigger: 1 } });
    let mut all = entries([
        ("ss_v2", version_2.into()),
        ("ss_base_model_version", version.into()),
        ("ss_network_module", "networks.lora".into()),
        ("ss_network_dim", rank.to_string()),
        ("ss_network_alpha", rank.to_string()),
        ("ss_output_name", card.name.clone()),
        ("ss_sd_model_name", card.base.clone()),
        ("ss_tag_frequency", tags.to_string()),
    ]);
    if ranks.len() > 1 {
        let ranks: BTreeMap<String, usize> =
            ranks.into_iter().map(|(rank, modules)| (rank.to_string(), modules)).collect();
        let arguments = json!({ "modules_per_rank": ranks });
        all.insert("ss_network_args".into(), arguments.to_string());
    }
    all
}

fn modules_per_rank(adapter: &StoredAdapter) -> BTreeMap<usize, usize> {
    let mut ranks = BTreeMap::new();
    for factors in adapter.0.values() {
        *ranks.entry(factors.rank).or_insert(0) += 1;
    }
    ranks
}

/// How the adapter was trained. The rate of a part that it does not change had no effect.
fn trained(training: &TrainingCard, adapter: &StoredAdapter) -> Metadata {
    let has = |part: &str| adapter.0.keys().any(|site| site.starts_with(part));
    let unet = training.lr_unet.filter(|_| has("unet."));
    let text = training.lr_text.filter(|_| has("text_encoder."));
    // sd-scripts has a rate for both, which each part may replace.
    let both = if text.is_none() || unet == text { unet } else { None };
    let mut all = entries([
        ("ss_steps", training.steps.to_string()),
        ("ss_num_train_images", training.images.to_string()),
    ]);
    for (key, rate) in
        [("ss_learning_rate", both), ("ss_unet_lr", unet), ("ss_text_encoder_lr", text)]
    {
        all.extend(rate.map(|rate| (key.to_string(), rate.to_string())));
    }
    all.extend(training.seed.map(|seed| ("ss_seed".to_string(), seed.to_string())));
    all
}

/// The keys of ModelSpec.
fn model_spec(card: &AdapterCard) -> Metadata {
    let architecture = match (card.is_version_2(), card.predicts_v()) {
        (false, _) => "stable-diffusion-v1",
        (true, false) => "stable-diffusion-v2-512",
        (true, true) => "stable-diffusion-v2-768-v",
    };
    let mut all = entries([
        ("modelspec.sai_model_spec", "1.0.1".into()),
        ("modelspec.architecture", format!("{architecture}/lora")),
        ("modelspec.implementation", "diffusers".into()),
        ("modelspec.title", card.name.clone()),
        ("modelspec.trigger_phrase", card.trigger.clone()),
        ("modelspec.prediction_type", if card.predicts_v() { "v" } else { "epsilon" }.into()),
    ]);
    if let Some(side) = card.resolution() {
        all.insert("modelspec.resolution".into(), format!("{side}x{side}"));
    }
    all
}

/// The digests of a safetensors file of eight bytes, a header of so many bytes, and the tensors: of the tensors
/// alone, which other metadata do not change, and of the slice that A1111 first took for the whole file. That
/// slice is empty, and its digest that of nothing, in files below 1 MiB.
fn digests(bytes: &[u8]) -> Metadata {
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let tensors = sha256(&rest[length..]);
    let slice: Vec<u8> = bytes.iter().skip(LEGACY_START).take(LEGACY_LENGTH).copied().collect();
    entries([
        ("modelspec.hash_sha256", format!("0x{tensors}")),
        (DIGEST, tensors),
        ("sshs_legacy_hash", sha256(&slice)[..8].to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{card, factors};
    use super::*;

    const UNET: &str = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    const TEXT: &str = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";

    fn adapter(ranks: &[(&str, usize)]) -> StoredAdapter {
        StoredAdapter(ranks.iter().map(|(site, r)| (site.to_string(), factors(*r))).collect())
    }

    fn found(ranks: &[(&str, usize)], training: Option<TrainingCard>) -> Metadata {
        let card = AdapterCard { training, ..card("dog6") };
        let tensors = NamedArrays::from([("x.alpha".to_string(), (vec![], vec![2.0]))]);
        of(Path::new("dog6.safetensors"), &tensors, &adapter(ranks), &card).unwrap()
    }

    fn training() -> TrainingCard {
        let (lr_unet, lr_text) = (Some(1e-4), Some(5e-5));
        TrainingCard { steps: 800, images: 5, lr_unet, lr_text, seed: Some(7) }
    }

    #[test]
    fn what_is_known_of_the_training_is_written() {
        let metadata = found(&[(UNET, 2), (TEXT, 2)], Some(training()));
        for (key, text) in [
            ("ss_steps", "800"),
            ("ss_num_train_images", "5"),
            ("ss_unet_lr", "0.0001"),
            ("ss_text_encoder_lr", "0.00005"),
            ("ss_seed", "7"),
            ("ss_network_dim", "2"),
        ] {
            assert_eq!(metadata[key], text, "{key}");
        }
        for key in ["ss_learning_rate", "ss_network_args"] {
            assert!(!metadata.contains_key(key), "{metadata:?}");
        }
        let unet = found(&[(UNET, 2)], Some(training()));
        assert_eq!(unet["ss_learning_rate"], "0.0001");
        assert!(!unet.contains_key("ss_text_encoder_lr"));
        assert!(!found(&[(UNET, 2)], None).keys().any(|key| key.contains("steps")));
    }

    #[test]
    fn different_ranks_are_told() {
        let metadata = found(&[(UNET, 2), (TEXT, 1)], None);
        assert_eq!(metadata["ss_network_dim"], "2");
        assert_eq!(metadata["ss_network_args"], r#"{"modules_per_rank":{"1":1,"2":1}}"#);
    }

    /// What sd-scripts' `addnet_hash_safetensors` and `addnet_hash_legacy` say in Python of the same bytes.
    #[test]
    fn digests_are_those_of_sd_scripts() {
        let metadata = found(&[(UNET, 2)], None);
        // hashlib.sha256(struct.pack("<f", 2.0))
        let tensors = "d88c86f15bbea365d658ad95a81d45367c465f7af6f7264fb077f01747ddc77d";
        assert_eq!(metadata["sshs_model_hash"], tensors);
        assert_eq!(metadata["modelspec.hash_sha256"], format!("0x{tensors}"));
        // hashlib.sha256(b"")
        assert_eq!(metadata["sshs_legacy_hash"], "e3b0c442");
        let long: Vec<u8> =
            (0..LEGACY_START + 2 * LEGACY_LENGTH).map(|x| (x % 251) as u8).collect();
        let long = [&4u64.to_le_bytes()[..], &long].concat();
        assert_eq!(digests(&long)["sshs_legacy_hash"], "c3e3c2fc");
    }
}
