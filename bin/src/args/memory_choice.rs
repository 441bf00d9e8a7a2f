//! Whether activations are kept, as it is typed.

use burn_seqlora::settings::Memory;
use serde::Deserialize;

/// A [`Memory`], or that which suits the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryChoice {
    /// [`Memory::Fast`]
    Fast,
    /// [`Memory::Low`]
    Low,
    /// [`Memory::Fast`] where it fits, [`Memory::Low`] elsewhere.
    Auto,
}

impl MemoryChoice {
    /// What a plan is made with, before the device's memory is known.
    pub fn to_begin_with(self) -> Memory {
        match self {
            Self::Fast | Self::Auto => Memory::Fast,
            Self::Low => Memory::Low,
        }
    }
}
