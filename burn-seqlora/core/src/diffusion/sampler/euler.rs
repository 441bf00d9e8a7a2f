//! Euler's method over σ, in the variance-exploding scale `x = x_0 + σ·ε`: deterministic and ancestral.

use super::grid::Spacing;
use super::sigmas::{Sigmas, float32, karras, use_karras};
use super::step::{Hop, Level, Path};
use crate::diffusion::schedule::{
    NoiseSchedule, Prediction, ScheduleError, SchedulerConfig, choice,
};

/// Levels of diffusers' `EulerDiscreteScheduler`.
pub(super) fn path(
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
) -> Result<Path, ScheduleError> {
    choice("interpolation_type", config.interpolation_type.as_deref(), (), &[("linear", ())])?;
    if schedule.prediction == Prediction::VPrediction {
        choice("timestep_type", config.timestep_type.as_deref(), (), &[("discrete", ())])?;
    }
    let levels = Levels::new(config, schedule, num_steps)?;
    let levels = if use_karras(config)? { levels.karras(config) } else { levels };
    let last = levels.table.last(config)?;
    Ok(levels.path(last, |_, _| 0.0))
}

/// Levels of diffusers' `EulerAncestralDiscreteScheduler`, which knows neither the file's Karras levels
/// nor its choice of the last one. With `karras`, which only a user can ask for, they are the Karras
/// levels of [`path`], as in k-diffusion's "Euler a Karras".
///
/// Of the next level's noise, `σ_up = σ'·√(σ² − σ'²)/σ` is drawn afresh: the standard deviation of
/// x' given x and x_0, as in ancestral sampling (Ho et al. 2020, arXiv 2006.11239, eq. 7).
pub(super) fn ancestral_path(
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
    karras: bool,
) -> Result<Path, ScheduleError> {
    let levels = Levels::new(config, schedule, num_steps)?;
    let levels = if karras { levels.karras(config) } else { levels };
    Ok(levels.path(0.0, |from, to| to * (from.powi(2) - to.powi(2)).sqrt() / from))
}

/// The timesteps of a spacing and their σ, descending.
struct Levels {
    spacing: Spacing,
    table: Sigmas,
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
}

impl Levels {
    fn new(
        config: &SchedulerConfig,
        schedule: &NoiseSchedule,
        num_steps: usize,
    ) -> Result<Self, ScheduleError> {
        let spacing = Spacing::new(config, "linspace")?;
        let train = schedule.num_train_timesteps();
        let timesteps = spacing.timesteps(train, num_steps, train);
        let timesteps: Vec<f64> = timesteps.into_iter().map(float32).collect();
        let table = Sigmas::new(config, schedule);
        let sigmas = timesteps.iter().map(|&timestep| table.at(timestep)).collect();
        Ok(Self { spacing, table, timesteps, sigmas })
    }

    /// As many Karras levels between the highest and the lowest of these, each at the timestep of its σ.
    fn karras(self, config: &SchedulerConfig) -> Self {
        let (range, count) =
            ((self.sigmas[self.sigmas.len() - 1], self.sigmas[0]), self.sigmas.len());
        let sigmas = karras(config, range, count);
        let timestep = |&sigma| float32(self.table.timestep(sigma));
        let timesteps = sigmas.iter().map(timestep).collect();
        Self { timesteps, sigmas, ..self }
    }

    /// Through all levels to `last`; `fresh` of two neighbouring σ is the noise that is new.
    ///
    /// The first sample has standard deviation σ_max (linspace, trailing) or √(σ_max² + 1)
    /// (leading).
    fn path(self, last: f64, fresh: impl Fn(f64, f64) -> f64) -> Path {
        let sigmas = self.sigmas.into_iter().chain([last]).map(float32);
        let levels: Vec<Level> = sigmas.map(|noise| Level { signal: 1.0, noise }).collect();
        let max = levels.iter().map(|level| level.noise).fold(0.0, f64::max);
        let hop = |(&timestep, pair): (&f64, &[Level])| Hop {
            timestep,
            from: pair[0],
            to: pair[1],
            extrapolation: 0.0,
            fresh: fresh(pair[0].noise, pair[1].noise),
        };
        Path {
            init_noise_sigma: match self.spacing {
                Spacing::Leading { .. } => max.hypot(1.0),
                Spacing::Trailing | Spacing::Linspace => max,
            },
            hops: self.timesteps.iter().zip(levels.windows(2)).map(hop).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_rows, config};
    use super::super::{SamplerKind, SamplerPlan};

    /// Oracle: diffusers 0.42.1, torch 2.15, float32 on the CPU. `s = EulerDiscreteScheduler
    /// .from_config(<config of the row>)`, `s.set_timesteps(<steps>)`, then the loop of
    /// `testing::run` with `s.scale_model_input` and `s.step`.
    #[test]
    fn rows_of_diffusers() {
        assert_rows(
            SamplerKind::Euler,
            &[
                ("", 5, 14.61465, [999.0, 749.25, 0.0], [-22.9746799, -0.4212921]),
                ("", 20, 14.61465, [999.0, 946.4210815429688, 0.0], [-22.4003239, -0.2898892]),
                (
                    r#","timestep_spacing":"leading""#,
                    25,
                    11.71879,
                    [961.0, 921.0, 1.0],
                    [-17.1929264, -0.2176283],
                ),
                (
                    r#","timestep_spacing":"trailing""#,
                    20,
                    14.61465,
                    [999.0, 949.0, 49.0],
                    [-22.3904419, -0.2881237],
                ),
                (
                    r#","prediction_type":"v_prediction""#,
                    25,
                    14.61465,
                    [999.0, 957.375, 0.0],
                    [-0.4570325, -0.0172924],
                ),
                (
                    r#","prediction_type":"v_prediction","rescale_betas_zero_snr":true,"timestep_spacing":"trailing""#,
                    20,
                    4096.0,
                    [999.0, 949.0, 49.0],
                    [-0.4256434, -0.0349731],
                ),
                (
                    r#","use_karras_sigmas":true"#,
                    20,
                    14.61465,
                    [999.0, 961.7327880859375, 0.0],
                    [-21.9067287, -0.3218923],
                ),
                (
                    r#","final_sigmas_type":"sigma_min""#,
                    5,
                    14.61465,
                    [999.0, 749.25, 0.0],
                    [-22.8130741, -0.4343621],
                ),
            ],
        );
    }

    #[test]
    fn values_not_implemented_are_named() {
        for (extra, expected) in [
            (r#","interpolation_type":"log_linear""#, r#"`interpolation_type` = "log_linear""#),
            (r#","use_exponential_sigmas":true"#, r#"`use_exponential_sigmas` = true"#),
            (
                r#","timestep_type":"continuous","prediction_type":"v_prediction""#,
                r#"`timestep_type` = "continuous""#,
            ),
        ] {
            let error = SamplerPlan::new(SamplerKind::Euler, &config(extra), 5).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    /// diffusers' ancestral class has no such keys: it takes plain levels and ends at 0.
    #[test]
    fn the_ancestral_sampler_ignores_what_its_class_does_not_have() {
        let plan = |extra| SamplerPlan::new(SamplerKind::EulerAncestral, &config(extra), 5);
        let plain = plan("").unwrap();
        for extra in [r#","use_karras_sigmas":true"#, r#","final_sigmas_type":"sigma_min""#] {
            assert_eq!(plan(extra).unwrap(), plain, "{extra}");
        }
    }
}
