//! DPM-Solver++ (2M), the multistep solver of order 2 in the clean sample.

use super::grid::Spacing;
use super::sigmas::{Sigmas, float32, karras, use_karras};
use super::step::{Hop, Level, Path};
use crate::diffusion::schedule::{
    NoiseSchedule, ScheduleError, SchedulerConfig, choice, invalid, refuse,
};

/// Levels of diffusers' `DPMSolverMultistepScheduler` (`dpmsolver++`, order 2, midpoint).
///
/// With λ = log(α/σ) = −log s, h_i = λ_{i+1} − λ_i and x_0 the estimate at step i:
///
/// ```text
/// x_{i+1} = (σ_{i+1}/σ_i)·x_i + φ_i·D_i
/// D_i     = x_0 + h_i/(2·h_{i−1})·(x_0 − x_0 of step i−1)
/// ```
///
/// The first step and, depending on the file, the last are of first order: D_i = x_0.
pub(super) fn path(
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
) -> Result<Path, ScheduleError> {
    check(config)?;
    let table = Sigmas::new(config, schedule);
    let (timesteps, mut sigmas) = levels(config, &table, schedule, num_steps)?;
    let last = table.last(config)?;
    sigmas.push(last);
    let first_order_at_end = last == 0.0
        || config.euler_at_final.unwrap_or(false)
        || (config.lower_order_final.unwrap_or(true) && timesteps.len() < 15);
    // λ_{i+1} − λ_i
    let width = |i: usize| (sigmas[i] / sigmas[i + 1]).ln();
    let hop = |(i, &timestep): (usize, &f64)| {
        let first_order = i == 0 || (i + 1 == timesteps.len() && first_order_at_end);
        Hop {
            timestep,
            from: Level::variance_preserving(sigmas[i]),
            to: Level::variance_preserving(sigmas[i + 1]),
            extrapolation: if first_order { 0.0 } else { 0.5 * width(i) / width(i - 1) },
            fresh: 0.0,
        }
    };
    Ok(Path { init_noise_sigma: 1.0, hops: timesteps.iter().enumerate().map(hop).collect() })
}

/// Timesteps and their σ, descending.
fn levels(
    config: &SchedulerConfig,
    table: &Sigmas,
    schedule: &NoiseSchedule,
    num_steps: usize,
) -> Result<(Vec<f64>, Vec<f64>), ScheduleError> {
    if use_karras(config)? {
        let sigmas = karras(config, table.range(), num_steps);
        // Rounded, except that diffusers cuts the fraction off for the cosine table.
        let whole = match config.beta_schedule.as_deref() {
            Some("squaredcos_cap_v2") => f64::trunc,
            _ => f64::round_ties_even,
        };
        let timesteps = sigmas.iter().map(|&sigma| whole(table.timestep(sigma))).collect();
        return Ok((timesteps, sigmas.into_iter().map(float32).collect()));
    }
    let spacing = Spacing::new(config, "linspace")?;
    let train = schedule.num_train_timesteps();
    let lambda_min = config.lambda_min_clipped.unwrap_or(f64::MIN);
    let count = table.count_above(lambda_min);
    if count == 0 {
        return Err(invalid("lambda_min_clipped", lambda_min, "a value that leaves timesteps"));
    }
    // Leading and linspace lay one point more than steps: the lowest is where the last step ends.
    let extra = usize::from(spacing != Spacing::Trailing);
    let mut timesteps = spacing.timesteps(count, num_steps + extra, train);
    timesteps.truncate(timesteps.len() - extra);
    let timesteps: Vec<f64> = timesteps.into_iter().map(f64::round_ties_even).collect();
    let sigmas = timesteps.iter().map(|&t| float32(table.at(t))).collect();
    Ok((timesteps, sigmas))
}

fn check(config: &SchedulerConfig) -> Result<(), ScheduleError> {
    refuse("thresholding", config.thresholding, false)?;
    refuse("use_lu_lambdas", config.use_lu_lambdas, false)?;
    choice(
        "algorithm_type",
        config.algorithm_type.as_deref(),
        (),
        &[("dpmsolver++", ()), ("deis", ())],
    )?;
    choice(
        "solver_type",
        config.solver_type.as_deref(),
        (),
        &[("midpoint", ()), ("logrho", ()), ("bh1", ()), ("bh2", ())],
    )?;
    match config.variance_type.as_deref() {
        Some(value @ ("learned" | "learned_range")) => Err(ScheduleError::Unsupported {
            key: "variance_type",
            value: format!("\"{value}\""),
            supported: "a fixed variance".to_string(),
        }),
        _ => Ok(()),
    }?;
    match config.solver_order {
        None | Some(2) => Ok(()),
        Some(order) => Err(ScheduleError::Unsupported {
            key: "solver_order",
            value: order.to_string(),
            supported: "2".to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_rows, config};
    use super::super::{SamplerKind, SamplerPlan};

    /// Oracle: diffusers 0.42.1, torch 2.15, float32 on the CPU. `s = DPMSolverMultistepScheduler
    /// .from_config(<config of the row>)`, `s.set_timesteps(<steps>)`, then the loop of
    /// `testing::run` with `s.scale_model_input` and `s.step`.
    #[test]
    fn rows_of_diffusers() {
        assert_rows(
            SamplerKind::DpmPlusPlus2M,
            &[
                ("", 5, 1.0, [999.0, 799.0, 200.0], [-24.0208721, -0.2616114]),
                ("", 20, 1.0, [999.0, 949.0, 50.0], [-23.1258869, -0.2474033]),
                (
                    r#","timestep_spacing":"leading""#,
                    20,
                    1.0,
                    [941.0, 894.0, 48.0],
                    [-15.6158886, -0.1601825],
                ),
                (
                    r#","timestep_spacing":"trailing""#,
                    25,
                    1.0,
                    [999.0, 959.0, 39.0],
                    [-23.2460861, -0.2499263],
                ),
                (
                    r#","prediction_type":"v_prediction""#,
                    25,
                    1.0,
                    [999.0, 959.0, 40.0],
                    [-0.4771171, 0.0019612],
                ),
                (
                    r#","prediction_type":"v_prediction","rescale_betas_zero_snr":true,"timestep_spacing":"trailing""#,
                    20,
                    1.0,
                    [999.0, 949.0, 49.0],
                    [-0.4527248, -0.0120530],
                ),
                (
                    r#","use_karras_sigmas":true"#,
                    20,
                    1.0,
                    [999.0, 962.0, 0.0],
                    [-23.3468761, -0.2354043],
                ),
                (
                    r#","final_sigmas_type":"sigma_min","lower_order_final":false"#,
                    5,
                    1.0,
                    [999.0, 799.0, 200.0],
                    [-27.4775352, 0.3031287],
                ),
                (
                    r#","lambda_min_clipped":-1.0"#,
                    25,
                    1.0,
                    [647.0, 621.0, 26.0],
                    [-2.8140342, 0.1589088],
                ),
            ],
        );
    }

    #[test]
    fn timesteps_of_twenty_karras_steps() {
        let config = config(r#","use_karras_sigmas":true"#);
        let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &config, 20).unwrap();
        let timesteps: Vec<usize> = plan.steps.iter().map(|step| step.timestep as usize).collect();
        assert_eq!(
            timesteps,
            [
                999, 962, 921, 876, 827, 772, 710, 640, 561, 474, 380, 285, 197, 123, 69, 35, 15,
                6, 2, 0
            ]
        );
    }

    #[test]
    fn values_not_implemented_are_named() {
        for (extra, expected) in [
            (r#","thresholding":true"#, r#"`thresholding` = true"#),
            (r#","solver_order":3"#, r#"`solver_order` = 3"#),
            (r#","solver_type":"heun""#, r#"`solver_type` = "heun""#),
            (r#","algorithm_type":"sde-dpmsolver++""#, r#"`algorithm_type` = "sde-dpmsolver++""#),
            (r#","use_lu_lambdas":true"#, r#"`use_lu_lambdas` = true"#),
            (r#","use_beta_sigmas":true"#, r#"`use_beta_sigmas` = true"#),
            (r#","variance_type":"learned_range""#, r#"`variance_type` = "learned_range""#),
            (r#","final_sigmas_type":"one""#, r#"`final_sigmas_type` = "one""#),
            (r#","lambda_min_clipped":9.5"#, "`lambda_min_clipped` = 9.5 is invalid"),
        ] {
            let error =
                SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &config(extra), 5).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
