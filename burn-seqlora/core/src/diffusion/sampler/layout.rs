//! Which noise levels a sampler passes through, where the user decides and not the model's file.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::SamplerKind;
use crate::diffusion::schedule::{ScheduleError, SchedulerConfig};

/// How sampling timesteps are laid over the training timesteps: table 2 of Lin et al. 2023
/// (arXiv 2305.08891), diffusers' `timestep_spacing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestepSpacing {
    /// Multiples of a whole stride from 0, plus the scheduler's offset.
    Leading,
    /// From the last timestep down in equal strides.
    Trailing,
    /// From the last timestep to 0, both included.
    Linspace,
}

impl TimestepSpacing {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
        }
    }
}

impl fmt::Display for TimestepSpacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What replaces the layout of a model's file and of diffusers' defaults; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelLayout {
    /// The spacing of the timesteps; the file's, or else the sampler's own, where not given.
    pub spacing: Option<TimestepSpacing>,
    /// Noise levels of Karras et al. 2022 (arXiv 2206.00364) eq. 5 with ρ = 7, diffusers'
    /// `use_karras_sigmas`. Those of DPM-Solver++ span the whole table, so that the spacing has no effect
    /// on them; Euler's run between the first and the last level of the spacing.
    pub karras: bool,
}

impl LevelLayout {
    /// Whether the sampler has these levels.
    ///
    /// # Errors
    /// [`ScheduleError::NoKarras`] if it has no Karras levels and they are asked for.
    pub fn check(self, kind: SamplerKind) -> Result<(), ScheduleError> {
        if !self.karras || kind.has_karras_levels() {
            return Ok(());
        }
        let others = SamplerKind::ALL.into_iter().filter(|kind| kind.has_karras_levels());
        let others: Vec<&str> = others.map(SamplerKind::name).collect();
        Err(ScheduleError::NoKarras { sampler: kind.name(), others: others.join(", ") })
    }

    /// Whether the spacing changes nothing, because the sampler's Karras levels do not depend on it.
    pub fn ignores_spacing(self, kind: SamplerKind) -> bool {
        self.karras && self.spacing.is_some() && kind == SamplerKind::DpmPlusPlus2M
    }

    /// The config with these keys in the place of its own.
    pub(super) fn replaces(self, config: &SchedulerConfig) -> Cow<'_, SchedulerConfig> {
        if self == Self::default() {
            return Cow::Borrowed(config);
        }
        let mut config = config.clone();
        if let Some(spacing) = self.spacing {
            config.timestep_spacing = Some(spacing.name().into());
        }
        if self.karras {
            config.use_karras_sigmas = Some(true);
        }
        Cow::Owned(config)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SamplerPlan;
    use super::super::testing::config;
    use super::*;

    const SPACINGS: [TimestepSpacing; 3] =
        [TimestepSpacing::Leading, TimestepSpacing::Trailing, TimestepSpacing::Linspace];

    /// A choice is the same as the key in the model's file, which diffusers reads.
    #[test]
    fn choices_replace_the_keys_of_the_file() {
        for kind in SamplerKind::ALL {
            for spacing in SPACINGS {
                for karras in [false, true].into_iter().filter(|k| !k || kind.has_karras_levels()) {
                    let layout = LevelLayout { spacing: Some(spacing), karras };
                    let got = SamplerPlan::with_layout(kind, &config(""), 20, layout).unwrap();
                    let keys =
                        format!(r#","timestep_spacing":"{spacing}","use_karras_sigmas":{karras}"#);
                    let expected = SamplerPlan::new(kind, &config(&keys), 20).unwrap();
                    // diffusers' ancestral class has no Karras levels that a file could ask for.
                    let only_chosen = karras && kind == SamplerKind::EulerAncestral;
                    assert_eq!(got == expected, !only_chosen, "{kind} {keys}");
                }
            }
        }
    }

    /// "Euler a Karras" passes through the levels of "Euler Karras".
    #[test]
    fn ancestral_karras_levels_are_those_of_euler() {
        let layout = LevelLayout { spacing: None, karras: true };
        let plan = |kind| SamplerPlan::with_layout(kind, &config(""), 20, layout).unwrap();
        let [euler, ancestral] = [SamplerKind::Euler, SamplerKind::EulerAncestral].map(plan);
        assert_eq!(euler.init_noise_sigma, ancestral.init_noise_sigma);
        for (euler, ancestral) in euler.steps.iter().zip(&ancestral.steps) {
            assert_eq!(euler.timestep, ancestral.timestep);
            assert_eq!(euler.scale_input, ancestral.scale_input);
        }
    }

    #[test]
    fn ddim_has_no_karras_levels() {
        let layout = LevelLayout { spacing: None, karras: true };
        for kind in [SamplerKind::Ddim, SamplerKind::Ddpm] {
            let plan = SamplerPlan::with_layout(kind, &config(""), 5, layout);
            assert_eq!(
                plan.unwrap_err().to_string(),
                format!(
                    "the sampler {kind} has no Karras levels; choose one of dpm++2m, euler, euler-a"
                )
            );
        }
    }

    #[test]
    fn only_the_levels_of_dpm_do_not_depend_on_the_spacing() {
        for kind in SamplerKind::ALL.into_iter().filter(|kind| kind.has_karras_levels()) {
            let plans = SPACINGS.map(|spacing| {
                let layout = LevelLayout { spacing: Some(spacing), karras: true };
                assert_eq!(layout.ignores_spacing(kind), kind == SamplerKind::DpmPlusPlus2M);
                SamplerPlan::with_layout(kind, &config(""), 20, layout).unwrap()
            });
            let same = plans[0] == plans[1] && plans[1] == plans[2];
            assert_eq!(same, kind == SamplerKind::DpmPlusPlus2M, "{kind}");
        }
    }
}
