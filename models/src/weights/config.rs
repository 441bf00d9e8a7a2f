//! Helpers to read the configs of diffusers and transformers without ignoring a setting.

use std::ops::RangeInclusive;
use std::path::Path;

use seqlora_files::{parse_object, printable, read_bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ModelError;

/// The largest config that is read. Those of Stable Diffusion have 2 kB, and a table of 1000 betas 20 kB.
const LIMIT: u64 = 1 << 20;

/// Reads the text of a config.
///
/// # Errors
/// If it is no regular file of at most 1 MiB, or not UTF-8.
pub fn read_config(file: &Path) -> Result<String, ModelError> {
    let not_text = |_| ModelError::config(file, "it is not UTF-8");
    String::from_utf8(read_bytes(file, LIMIT)?).map_err(not_text)
}

/// One number for all levels, or one number per level, from fine to coarse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or a list of one number per level")]
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
    /// x σ(x), as in the gated layers of the largest DINOv2 and DINOv3.
    Silu,
}

impl From<Activation> for seqlora_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => Self::QuickGelu,
            Activation::Gelu => Self::Gelu,
            Activation::Silu => Self::Silu,
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
    let config: Map<String, Value> =
        parse_object(text).map_err(|reason| ModelError::config(file, reason))?;
    for (key, only) in fixed {
        let only: Value = serde_json::from_str(only).expect("the table holds JSON");
        let Some(value) = config.get(*key) else { continue };
        let same_number = value.as_f64().is_some() && value.as_f64() == only.as_f64();
        if *value != only && !same_number {
            let reason = format!("`{key}` is {value}, but only {only} is supported");
            return Err(ModelError::config(file, reason));
        }
    }
    Ok(())
}

/// Refuses a number that no model has, before anything of that size is made.
///
/// # Errors
/// The error names the file, the key, its value and the range.
pub fn require_within(
    file: &Path,
    key: &str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ModelError> {
    match range.contains(&value) {
        true => Ok(()),
        false => {
            let expected = match range.into_inner() {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            Err(ModelError::config(file, format!("`{key}` is {value}; expected {expected}")))
        }
    }
}

/// Refuses a number of levels, each of which has half the height and width of the one before, that no
/// network has.
///
/// # Errors
/// The error names the file, the key and the number.
pub fn require_levels(file: &Path, levels: usize) -> Result<(), ModelError> {
    match (1..=8).contains(&levels) {
        true => Ok(()),
        false => {
            let reason = format!("`block_out_channels` has {levels} entries; expected 1 to 8");
            Err(ModelError::config(file, reason))
        }
    }
}

/// Refuses a list of block types that has not one of the `known` types for each level.
///
/// # Errors
/// The error names the file, the key, and the type or the numbers.
pub fn require_types(
    file: &Path,
    key: &str,
    types: &[String],
    known: &[&str],
    levels: usize,
) -> Result<(), ModelError> {
    if types.len() != levels {
        let count = types.len();
        let reason = format!("`{key}` has {count} entries, but `block_out_channels` {levels}");
        return Err(ModelError::config(file, reason));
    }
    match types.iter().find(|name| !known.contains(&name.as_str())) {
        Some(other) => {
            let (other, known) = (printable(other), known.join(" or "));
            let reason = format!("`{key}`: the type `{other}` is not supported; expected {known}");
            Err(ModelError::config(file, reason))
        }
        None => Ok(()),
    }
}

/// Refuses an ε that is not between 0 and 1.
///
/// # Errors
/// The error names the file, the key and its value.
pub fn require_epsilon(file: &Path, key: &str, value: f64) -> Result<(), ModelError> {
    match value > 0.0 && value < 1.0 {
        true => Ok(()),
        false => Err(ModelError::config(
            file,
            format!("`{key}` is {value:?}; expected a number between 0 and 1"),
        )),
    }
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
