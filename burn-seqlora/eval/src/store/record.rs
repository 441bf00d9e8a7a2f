//! `evaluation.json`: what a folder's images and scores are about.

use seqlora_core::precision::Precision;
use serde::{Deserialize, Serialize};

use crate::protocol::{MethodPlan, Protocol};

/// The record of a run. Another one is refused in the same folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The layout of this file.
    pub version: u32,
    /// The base model's name and fingerprint; empty if no image is made.
    pub base: [String; 2],
    /// Width and height of the images in pixels.
    pub size: [usize; 2],
    /// What the model computes in.
    pub precision: Precision,
    /// Images that are sampled at once: rounding depends on it.
    pub batch: usize,
    /// The methods.
    pub methods: Vec<MethodPlan>,
    /// Everything else.
    pub protocol: Protocol,
}

impl RunRecord {
    /// The layout that this version writes.
    pub const VERSION: u32 = 1;

    /// What identifies the base model; `None` if no image is made.
    pub fn base_model(&self) -> Option<&str> {
        Some(self.base[1].as_str()).filter(|fingerprint| !fingerprint.is_empty())
    }
}
