//! DDIM with η = 0, and with η = 1, which draws as much noise as DDPM.

use super::grid::Spacing;
use super::step::{Hop, Level, Path};
use crate::diffusion::schedule::{NoiseSchedule, ScheduleError, SchedulerConfig, refuse};

/// Levels of diffusers' `DDIMScheduler`.
///
/// The level after timestep t is that of `t − ⌊T/n⌋`, also where the spacing is not that stride
/// (linspace, or trailing when n does not divide T): a habit of diffusers that is kept. Below 0 it
/// is 1 (`set_alpha_to_one`) or ᾱ_0.
pub(super) fn path(
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
) -> Result<Path, ScheduleError> {
    refuse("clip_sample", config.clip_sample, true)?;
    refuse("thresholding", config.thresholding, false)?;
    let spacing = Spacing::new(config, "leading")?;
    let train = schedule.num_train_timesteps();
    let stride = train / num_steps;
    let level = |alpha: f64| Level { signal: alpha.sqrt(), noise: (1.0 - alpha).sqrt() };
    let last =
        if config.set_alpha_to_one.unwrap_or(true) { 1.0 } else { schedule.alpha_cumprod(0)? };
    let hop = |timestep: f64| {
        let t = timestep.round_ties_even() as usize;
        let next = match t.checked_sub(stride) {
            Some(next) => schedule.alpha_cumprod(next)?,
            None => last,
        };
        Ok(Hop {
            timestep: t as f64,
            from: level(schedule.alpha_cumprod(t)?),
            to: level(next),
            extrapolation: 0.0,
            fresh: 0.0,
        })
    };
    let timesteps = spacing.timesteps(train, num_steps, train);
    Ok(Path {
        init_noise_sigma: 1.0,
        hops: timesteps.into_iter().map(hop).collect::<Result<_, _>>()?,
    })
}

/// The same levels with η = 1: the fresh noise of a step has the variance of DDPM's posterior between its two levels,
/// Ho et al. 2020 (arXiv 2006.11239) eq. 7; diffusers' `_get_variance`.
pub(super) fn stochastic_path(
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
) -> Result<Path, ScheduleError> {
    let mut path = path(config, schedule, num_steps)?;
    for hop in &mut path.hops {
        let kept = hop.from.signal / hop.to.signal;
        hop.fresh = hop.to.noise / hop.from.noise * (1.0 - kept * kept).max(0.0).sqrt();
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_rows, config};
    use super::super::{SamplerKind, SamplerPlan};
    use super::*;

    /// Oracle: diffusers 0.42.1, torch 2.15, float32 on the CPU. `s = DDIMScheduler
    /// .from_config(<config of the row>)`, `s.set_timesteps(<steps>)`, then the loop of
    /// `testing::run` with `s.scale_model_input` and `s.step`.
    #[test]
    fn rows_of_diffusers() {
        assert_rows(
            SamplerKind::Ddim,
            &[
                ("", 5, 1.0, [801.0, 601.0, 1.0], [-6.2032337, -0.1269710]),
                ("", 20, 1.0, [951.0, 901.0, 1.0], [-15.9715843, -0.2150826]),
                (
                    r#","timestep_spacing":"trailing""#,
                    7,
                    1.0,
                    [999.0, 856.0, 142.0],
                    [-22.0515461, -0.3439223],
                ),
                (
                    r#","timestep_spacing":"linspace""#,
                    25,
                    1.0,
                    [999.0, 957.0, 0.0],
                    [-20.0894661, -0.2644270],
                ),
                (
                    r#","prediction_type":"v_prediction""#,
                    25,
                    1.0,
                    [961.0, 921.0, 1.0],
                    [-0.4768932, -0.0114045],
                ),
                (
                    r#","prediction_type":"v_prediction","rescale_betas_zero_snr":true,"timestep_spacing":"trailing""#,
                    20,
                    1.0,
                    [999.0, 949.0, 49.0],
                    [-0.4436291, -0.0348713],
                ),
            ],
        );
    }

    #[test]
    fn timesteps_of_five_steps() {
        let plan = SamplerPlan::new(SamplerKind::Ddim, &config(""), 5).unwrap();
        let timesteps: Vec<f64> = plan.steps.iter().map(|step| step.timestep).collect();
        assert_eq!(timesteps, [801.0, 601.0, 401.0, 201.0, 1.0]);
    }

    #[test]
    fn clipping_that_the_file_does_not_switch_off_is_refused() {
        let config = SchedulerConfig { clip_sample: None, ..config("") };
        let error = SamplerPlan::new(SamplerKind::Ddim, &config, 5).unwrap_err().to_string();
        assert!(error.contains("`clip_sample` = true (diffusers' default"), "{error}");
    }

    #[test]
    fn an_offset_out_of_the_table_is_refused() {
        let error = SamplerPlan::new(SamplerKind::Ddim, &config(""), 1000).unwrap_err();
        assert!(error.to_string().contains("timestep 1000"), "{error}");
    }

    #[test]
    fn values_not_implemented_are_named() {
        for (extra, expected) in [
            (r#","thresholding":true"#, r#"`thresholding` = true"#),
            (r#","timestep_spacing":"karras""#, r#"`timestep_spacing` = "karras""#),
            (r#","prediction_type":"flow_prediction""#, r#"`prediction_type` = "flow_prediction""#),
        ] {
            let error = SamplerPlan::new(SamplerKind::Ddim, &config(extra), 5).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
