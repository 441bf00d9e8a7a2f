//! What the frozen model computes in.

use std::fmt;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

/// The numbers of frozen weights and of what flows between layers.
///
/// A, B, token rows, losses, optimiser states and samplers stay in f32, and so does the VAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// 11 bits of mantissa, at most 65504.
    F16,
    /// 8 bits of mantissa, the range of f32.
    Bf16,
}

impl Precision {
    /// The type of the numbers.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// The largest number.
    pub fn largest(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => 65504.0,
            // 2¹²⁸ − 2¹²⁰
            Self::Bf16 => f32::from_bits(0x7f7f_0000),
        }
    }

    /// Bytes per number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}
