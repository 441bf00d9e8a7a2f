//! The reverse process: samplers as tables of linear updates.
//!
//! Every sampler here is, per step, linear in the sample, the model's output, the previous step's
//! clean-sample estimate and fresh noise z, with coefficients that depend on the schedule alone:
//!
//! ```text
//! input  = scale_input · x
//! x_0    = x0_from_sample · x + x0_from_output · model(input, timestep)
//! x_next = next_from_sample · x + next_from_x0 · x_0 + next_from_previous_x0 · x_0(previous step)
//!        + next_from_noise · z
//! ```
//!
//! So a plan is computed once on the host in float64 and the sampling loop knows no sampler.
//!
//! A first-order step from `x = α·x_0 + σ·ε` to `x' = α'·x_0 + σ'·ε'` keeps x_0 fixed, and of the
//! noise all but a part of standard deviation τ, which is drawn afresh:
//!
//! ```text
//! x' = (κ/σ)·x + φ·x_0 + τ·z             κ = √(σ'² − τ²),  φ = α' − α·κ/σ
//! ```
//!
//! With τ = 0 this integrates the probability-flow ODE in x_0.
//!
//! | sampler | levels (α, σ) | order | source |
//! |---|---|---|---|
//! | DDIM, η = 0 | (√ᾱ, √(1 − ᾱ)) | 1 | Song et al. 2021 (2010.02502) eq. 12 |
//! | DDPM | (√ᾱ, √(1 − ᾱ)), τ² = (1 − ᾱ')/(1 − ᾱ)·(1 − ᾱ/ᾱ') | 1 | the same with η = 1, eq. 16 |
//! | DPM-Solver++ | (1, s)/√(1 + s²), s = √((1 − ᾱ)/ᾱ) | 2 | Lu et al. 2022 (2211.01095) alg. 2 |
//! | Euler | (1, s) | 1 | Karras et al. 2022 (2206.00364) alg. 1 |
//! | Euler ancestral | (1, s), τ = s'√(s² − s'²)/s | 1 | Ho et al. 2020 (2006.11239) eq. 7 |
//!
//! The choice of timesteps and levels is diffusers' (0.42), with its roundings; the parts are named
//! after its files `scheduling_ddim.py`, `scheduling_dpmsolver_multistep.py`,
//! `scheduling_euler_discrete.py` and `scheduling_euler_ancestral_discrete.py`.

mod ddim;
mod dpm_solver;
mod euler;
mod grid;
mod kind;
mod layout;
mod sigmas;
mod step;
mod strength;

pub use kind::SamplerKind;
pub use layout::{LevelLayout, TimestepSpacing};
pub use step::SamplerStep;

use crate::diffusion::schedule::{NoiseSchedule, ScheduleError, SchedulerConfig};
use step::Path;

/// A sampler laid out for one schedule and one number of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerPlan {
    /// Standard deviation of the noise in the first sample, which is `init_noise_sigma · ε`, with
    /// `init_signal` times an image's latents added.
    pub init_noise_sigma: f64,
    /// Weight of an image's latents in the first sample; 0 where sampling starts from noise alone.
    pub init_signal: f64,
    /// The steps, from the noisiest. Shorter than asked for only where DPM-Solver++ has trailing
    /// spacing and a `lambda_min_clipped`.
    pub steps: Vec<SamplerStep>,
}

impl SamplerPlan {
    /// Lays out `num_steps` steps of `kind`, as the diffusers class of that sampler does after
    /// `from_config(config)` and `set_timesteps(num_steps)`.
    ///
    /// One difference: in trailing spacing, for 62 of the step counts below 1000 (the first is 61),
    /// rounding makes diffusers append a timestep −1, which reads the noisiest level for the
    /// cleanest; it is left out here.
    ///
    /// # Errors
    /// [`ScheduleError::Steps`] unless `1 ≤ num_steps ≤ num_train_timesteps`;
    /// [`ScheduleError::Unsupported`] for a value of the file that this sampler would have to obey
    /// and does not implement; [`ScheduleError::Timestep`] when `steps_offset` leads DDIM out of
    /// the table; [`ScheduleError::Degenerate`] when a step would divide by zero.
    pub fn new(
        kind: SamplerKind,
        config: &SchedulerConfig,
        num_steps: usize,
    ) -> Result<Self, ScheduleError> {
        Self::with_layout(kind, config, num_steps, LevelLayout::default())
    }

    /// The same with a layout of the noise levels that replaces what the file and diffusers' defaults say.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`ScheduleError::NoKarras`] for [`SamplerKind::Ddim`] with Karras
    /// levels.
    pub fn with_layout(
        kind: SamplerKind,
        config: &SchedulerConfig,
        num_steps: usize,
        layout: LevelLayout,
    ) -> Result<Self, ScheduleError> {
        layout.check(kind)?;
        let config = &layout.replaces(config);
        let schedule = NoiseSchedule::new(config)?;
        let max = schedule.num_train_timesteps();
        if num_steps == 0 || num_steps > max {
            return Err(ScheduleError::Steps { requested: num_steps, max });
        }
        let path = path(kind, config, &schedule, num_steps, layout.karras)?;
        let steps = path.hops.iter().enumerate();
        Ok(Self {
            init_noise_sigma: path.init_noise_sigma,
            init_signal: 0.0,
            steps: steps
                .map(|(index, hop)| hop.step(index, schedule.prediction))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The levels that a sampler passes through. `karras` is a user's choice, which also a sampler without
/// such a key in its file obeys.
fn path(
    kind: SamplerKind,
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    num_steps: usize,
    karras: bool,
) -> Result<Path, ScheduleError> {
    match kind {
        SamplerKind::Ddim => ddim::path(config, schedule, num_steps),
        SamplerKind::Ddpm => ddim::stochastic_path(config, schedule, num_steps),
        SamplerKind::DpmPlusPlus2M => dpm_solver::path(config, schedule, num_steps),
        SamplerKind::Euler => euler::path(config, schedule, num_steps),
        SamplerKind::EulerAncestral => euler::ancestral_path(config, schedule, num_steps, karras),
    }
}

/// What the tests of the samplers share.
#[cfg(test)]
mod testing {
    use super::*;

    /// `scheduler/scheduler_config.json` of Stable Diffusion 1.5, and keys added to it.
    pub(super) fn config(extra: &str) -> SchedulerConfig {
        let text = format!(
            r#"{{"_class_name":"PNDMScheduler","_diffusers_version":"0.6.0","beta_end":0.012,
            "beta_schedule":"scaled_linear","beta_start":0.00085,"num_train_timesteps":1000,
            "set_alpha_to_one":false,"skip_prk_steps":true,"steps_offset":1,"trained_betas":null,
            "clip_sample":false{extra}}}"#
        );
        SchedulerConfig::from_json(&text).unwrap()
    }

    /// The sampling loop for one number and a made-up model.
    pub(super) fn run(plan: &SamplerPlan, start: f64) -> f64 {
        let (mut x, mut previous_x0) = (start * plan.init_noise_sigma, 0.0);
        for step in &plan.steps {
            let input = step.scale_input * x;
            let output = (1.3 * input + 0.001 * step.timestep).sin() - 0.2 * input;
            let x0 = step.x0_from_sample * x + step.x0_from_output * output;
            x = step.next_from_sample * x
                + step.next_from_x0 * x0
                + step.next_from_previous_x0 * previous_x0;
            previous_x0 = x0;
        }
        x
    }

    /// Keys added, steps, init_noise_sigma, first, second and last timestep, samples that -1.3 and
    /// 0.7 end in.
    pub(super) type Row = (&'static str, usize, f64, [f64; 3], [f64; 2]);

    #[track_caller]
    pub(super) fn assert_rows(kind: SamplerKind, rows: &[Row]) {
        for &(extra, steps, sigma, timesteps, ends) in rows {
            let plan = SamplerPlan::new(kind, &config(extra), steps).unwrap();
            assert!((plan.init_noise_sigma / sigma - 1.0).abs() < 1e-6, "{extra}");
            assert_eq!(plan.steps.len(), steps, "{extra}");
            let visited = [0, 1, steps - 1].map(|i| plan.steps[i].timestep);
            for (got, expected) in visited.iter().zip(timesteps) {
                assert!((got - expected).abs() < 1e-4, "{extra}: {visited:?}");
            }
            let got = [-1.3, 0.7].map(|start| run(&plan, start));
            let error = (got[0] - ends[0]).hypot(got[1] - ends[1]) / ends[0].hypot(ends[1]);
            assert!(error < 1e-5, "{extra} in {steps}: {got:?}, expected {ends:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::step::Level;
    use super::testing::config;
    use super::*;
    use crate::diffusion::schedule::Prediction;

    fn plan(kind: SamplerKind, extra: &str, steps: usize) -> SamplerPlan {
        SamplerPlan::new(kind, &config(extra), steps).unwrap()
    }

    /// A model that knows x_0 and ε is followed exactly: every estimate is x_0, the sample stays
    /// `α·x_0 + σ·ε` of its level, and the last one is x_0, its level being 0. Fresh noise z turns
    /// ε into `(κ·ε + τ·z)/σ'`.
    #[test]
    fn a_perfect_model_is_followed_exactly() {
        let (clean, fresh) = (0.6, 0.9);
        let at = |level: Level, drawn: f64| level.signal * clean + level.noise * drawn;
        let near =
            |got: f64, expected: f64| (got - expected).abs() < 1e-9 * expected.abs().max(1.0);
        for kind in SamplerKind::ALL {
            for spacing in ["leading", "trailing", "linspace"] {
                if !kind.has_karras_levels() && spacing == "linspace" {
                    continue; // its levels do not chain there: see ddim.rs
                }
                for prediction in ["epsilon", "v_prediction", "sample"] {
                    let extra = format!(
                        r#","timestep_spacing":"{spacing}","prediction_type":"{prediction}""#
                    );
                    let config = SchedulerConfig { set_alpha_to_one: Some(true), ..config(&extra) };
                    let schedule = NoiseSchedule::new(&config).unwrap();
                    let (mut x, mut previous_x0, mut drawn) = (f64::NAN, 0.0, -1.1);
                    let path = path(kind, &config, &schedule, 20, false).unwrap();
                    for (i, hop) in path.hops.iter().enumerate() {
                        let step = hop.step(i, schedule.prediction).unwrap();
                        x = if i == 0 { at(hop.from, drawn) } else { x };
                        let signal = hop.from.signal * step.scale_input;
                        let noise = hop.from.noise * step.scale_input;
                        let output = match schedule.prediction {
                            Prediction::Epsilon => drawn,
                            Prediction::VPrediction => signal * drawn - noise * clean,
                            Prediction::Sample => clean,
                        };
                        let x0 = step.x0_from_sample * x + step.x0_from_output * output;
                        assert!(near(x0, clean), "{kind} {extra} step {i}: {x0}");
                        x = step.next_from_sample * x
                            + step.next_from_x0 * x0
                            + step.next_from_previous_x0 * previous_x0
                            + step.next_from_noise * fresh;
                        if hop.fresh > 0.0 {
                            let kept = (hop.to.noise.powi(2) - hop.fresh.powi(2)).sqrt();
                            drawn = (kept * drawn + hop.fresh * fresh) / hop.to.noise;
                        }
                        assert!(near(x, at(hop.to, drawn)), "{kind} {extra} step {i}: {x}");
                        previous_x0 = x0;
                    }
                    assert!(near(x, clean), "{kind} {extra}: {x}");
                }
            }
        }
    }

    #[test]
    fn only_whole_second_order_steps_look_back() {
        for kind in SamplerKind::ALL.into_iter().filter(|k| *k != SamplerKind::DpmPlusPlus2M) {
            assert!(plan(kind, "", 25).steps.iter().all(|step| step.next_from_previous_x0 == 0.0));
        }
        let steps = plan(SamplerKind::DpmPlusPlus2M, "", 25).steps;
        let second_order = |step: &SamplerStep| step.next_from_previous_x0 != 0.0;
        assert!(steps[1..24].iter().all(second_order));
        assert!(!second_order(&steps[0]) && !second_order(&steps[24]));
    }

    /// Fresh noise in every step but one that ends at x_0: DDPM's last one ends at ᾱ_0.
    #[test]
    fn only_stochastic_samplers_draw() {
        for kind in SamplerKind::ALL {
            let steps = plan(kind, "", 25).steps;
            let draws = steps.iter().filter(|step| step.next_from_noise > 0.0).count();
            let expected = match kind {
                SamplerKind::EulerAncestral => 24,
                SamplerKind::Ddpm => 25,
                _ => 0,
            };
            assert_eq!(draws, expected, "{kind}");
        }
    }

    #[test]
    fn impossible_numbers_of_steps_are_refused() {
        for steps in [0, 1001] {
            for kind in SamplerKind::ALL {
                let error = SamplerPlan::new(kind, &config(""), steps).unwrap_err().to_string();
                assert_eq!(
                    error,
                    format!("cannot sample in {steps} steps; choose between 1 and 1000")
                );
            }
        }
    }

    #[test]
    fn noise_prediction_from_pure_noise_is_refused() {
        let extra = r#","rescale_betas_zero_snr":true,"timestep_spacing":"trailing""#;
        let error = SamplerPlan::new(SamplerKind::Ddim, &config(extra), 20).unwrap_err();
        assert!(matches!(error, ScheduleError::Degenerate { step: 0, .. }), "{error}");
    }

    #[test]
    fn values_that_a_sampler_does_not_obey_are_not_its_concern() {
        let euler = SamplerPlan::new(SamplerKind::Euler, &config(r#","solver_order":3"#), 5);
        assert_eq!(euler.unwrap(), plan(SamplerKind::Euler, "", 5));
    }
}
