//! The stages of a fusion: which layers are fused on inputs from the same run of the model.

use crate::lora::{Part, Site};

/// Layers that are fused on inputs from the same run of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The text encoder.
    TextEncoder,
    /// Keys and values of attention to the prompt.
    CrossAttention,
    /// All other layers of the denoiser.
    Spatial,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::CrossAttention, Self::Spatial];

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text-encoder",
            Self::CrossAttention => "cross-attention",
            Self::Spatial => "spatial",
        }
    }

    /// Whether a layer is fused in this stage.
    pub fn contains(self, site: &Site) -> bool {
        let stage = match site.part {
            Part::TextEncoder => Self::TextEncoder,
            Part::Denoiser if site.reads_prompt() => Self::CrossAttention,
            Part::Denoiser => Self::Spatial,
        };
        self == stage
    }
}
