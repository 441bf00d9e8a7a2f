//! Helpers to read the configs of diffusers and transformers without ignoring a setting.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ModelError;

/// One number for all levels, or one number per level, from fine to coarse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same number at every level.
    Same(usize),
    /// One number per level.
    Each(Vec<usize>),
}

impl PerLevel {
    /// Whether there is a number for each of `levels` levels.
    pub fn covers(&self, levels: usize) -> bool {
        match self {
            Self::Same(_) => true,
            Self::Each(numbers) => numbers.len() == levels,
        }
    }

    /// The number at a level.
    ///
    /// # Panics
    /// If there is no number for this level, see [`covers`](Self::covers).
    pub fn at(&self, level: usize) -> usize {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers[level],
        }
    }
}

/// The activation of a feed-forward layer, under transformers' name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x σ(1.702 x), as in OpenAI's CLIP (SD1).
    QuickGelu,
    /// x Φ(x), as in OpenCLIP (SD2) and DINO.
    Gelu,
}

impl From<Activation> for seqlora_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => Self::QuickGelu,
            Activation::Gelu => Self::Gelu,
        }
    }
}

/// Refuses a config in which one of the `fixed` keys has another value than the given one.
///
/// If the config does not have the key, diffusers' default applies, which is the given value.
///
/// # Errors
/// The error names the file, the key, its value and the supported value.
pub fn require_defaults(text: &str, file: &Path, fixed: &[(&str, &str)]) -> Result<(), ModelError> {
    let config: Value = serde_json::from_str(text).map_err(|e| ModelError::config(file, e))?;
    for (key, only) in fixed {
        let only: Value = serde_json::from_str(only).expect("the table holds JSON");
        let Some(value) = config.get(key) else { continue };
        let same_number = value.as_f64().is_some() && value.as_f64() == only.as_f64();
        if *value != only && !same_number {
            let reason = format!("`{key}` is {value}, but only {only} is supported");
            return Err(ModelError::config(file, reason));
        }
    }
    Ok(())
}

/// Refuses a number of channels that is not divisible by `parts`, the value of `key`.
///
/// # Errors
/// The error names the file, the key and both numbers.
pub fn require_parts(
    file: &Path,
    key: &str,
    channels: usize,
    parts: usize,
) -> Result<(), ModelError> {
    match parts > 0 && channels > 0 && channels.is_multiple_of(parts) {
        true => Ok(()),
        false => {
            let reason = format!("`{key}` is {parts}, which does not divide {channels} channels");
            Err(ModelError::config(file, reason))
        }
    }
}
