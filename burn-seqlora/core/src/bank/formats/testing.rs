//! What the tests of the formats share.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::Header;

use super::AdapterCard;
use crate::bank::tensors::{NamedArrays, read_arrays};
use crate::diffusion::Prediction;
use crate::lora::{Part, Role, Site, StoredFactors};

/// A layer of three inputs and two outputs.
pub fn site(name: &str) -> Site {
    let (part, role) = (Part::Denoiser, Role::CrossAttention);
    Site { name: name.into(), inputs: 3, outputs: 2, part, role }
}

/// Factors for such a layer.
pub fn factors(rank: usize) -> StoredFactors {
    let numbers = |count| (0..count).map(|x| x as f32 / 7.0).collect();
    StoredFactors { rank, up: numbers(2 * rank), down: numbers(3 * rank) }
}

/// An adapter of this name, for Stable Diffusion 1.x.
pub fn card(name: &str) -> AdapterCard {
    AdapterCard {
        name: name.into(),
        trigger: format!("<{name}>"),
        base: "stable-diffusion-v1-5".into(),
        token_width: 768,
        prediction: Some(Prediction::Epsilon),
        training: None,
    }
}

/// A file's tensors and metadata.
pub fn read_file(file: &Path) -> (NamedArrays, BTreeMap<String, String>) {
    let header = Header::read(file).unwrap();
    (read_arrays(&header).unwrap(), header.metadata().clone())
}
