//! The samplers by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::diffusion::schedule::{ScheduleError, choice};

/// A sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SamplerKind {
    /// DDIM with η = 0, as diffusers' `DDIMScheduler`.
    #[serde(rename = "ddim")]
    Ddim,
    /// DDIM with η = 1, which is DDPM's ancestral sampling on a part of the timesteps; diffusers'
    /// `DDIMScheduler` with `eta=1`.
    #[serde(rename = "ddpm")]
    Ddpm,
    /// DPM-Solver++ (2M), as diffusers' `DPMSolverMultistepScheduler`.
    #[serde(rename = "dpm++2m")]
    DpmPlusPlus2M,
    /// Euler, as diffusers' `EulerDiscreteScheduler` without churn.
    #[serde(rename = "euler")]
    Euler,
    /// Euler with fresh noise in every step, as diffusers' `EulerAncestralDiscreteScheduler`.
    #[serde(rename = "euler-a")]
    EulerAncestral,
}

impl SamplerKind {
    /// Every sampler, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::Ddim, Self::Ddpm, Self::DpmPlusPlus2M, Self::Euler, Self::EulerAncestral];

    /// Whether noise levels can be those of Karras et al. 2022.
    pub fn has_karras_levels(self) -> bool {
        !matches!(self, Self::Ddim | Self::Ddpm)
    }

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
            Self::DpmPlusPlus2M => "dpm++2m",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-a",
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = ScheduleError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        choice("sampler", Some(name), Self::Ddim, &Self::ALL.map(|kind| (kind.name(), kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse::<SamplerKind>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = "plms".parse::<SamplerKind>().unwrap_err().to_string();
        assert!(error.contains("`sampler` = \"plms\"") && error.contains("dpm++2m"), "{error}");
    }
}
