//! The forward process: how much noise a sample holds at each training timestep.
//!
//! ```text
//! x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε          ᾱ_t = Π_{s ≤ t} (1 − β_s)
//! v_t = √ᾱ_t · ε − √(1 − ᾱ_t) · x_0
//! ```
//!
//! Sources: Ho et al. 2020 (arXiv 2006.11239) eq. 4 for the process; Salimans & Ho 2022
//! (arXiv 2202.00512) section 4 for the velocity; diffusers 0.42 `scheduling_ddpm.py` for the
//! numbers.
//!
//! The table holds the values diffusers holds: β, 1 − β and the running product are each rounded to
//! float32. At small t, 1 − ᾱ_t is a difference of nearly equal numbers, so a table kept in float64
//! throughout would differ from the one every Stable Diffusion checkpoint is used with by up to
//! 4e-5 in the noise level. Everything after the table is float64.

mod betas;
mod check;
mod config;
mod error;
mod pipeline;
mod prediction;

pub use config::SchedulerConfig;
pub(crate) use config::{choice, invalid, refuse};
pub use error::ScheduleError;
pub use prediction::Prediction;

/// Cumulative noise table of the forward process, indexed by training timestep.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    /// ᾱ_t for `t` in `0..num_train_timesteps`, falling from nearly 1 towards 0.
    pub alphas_cumprod: Vec<f64>,
    /// What the model that goes with this schedule predicts.
    pub prediction: Prediction,
}

impl NoiseSchedule {
    /// Builds the table that diffusers' `DDPMScheduler.from_config` and
    /// `DDIMScheduler.from_config` build from the same file.
    ///
    /// # Errors
    /// [`ScheduleError::Unsupported`] for a β schedule or prediction type outside those listed in
    /// [`SchedulerConfig`], [`ScheduleError::Invalid`] for numbers that are not a noise schedule.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        config.check_family()?;
        check::check(config)?;
        Ok(Self {
            alphas_cumprod: betas::alphas_cumprod(config)?.into_iter().map(f64::from).collect(),
            prediction: config.prediction()?,
        })
    }

    /// Number of training timesteps T; valid timesteps are `0..T`.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Coefficients `(of x_0, of ε) = (√ᾱ_t, √(1 − ᾱ_t))` of the noisy sample x_t.
    ///
    /// # Panics
    /// If `timestep` is not below [`Self::num_train_timesteps`], as all methods that take one.
    pub fn add_noise(&self, timestep: usize) -> (f64, f64) {
        let alpha = self.alpha_cumprod(timestep).unwrap_or_else(|error| panic!("{error}"));
        (alpha.sqrt(), (1.0 - alpha).sqrt())
    }

    /// Coefficients `(of x_0, of ε) = (−√(1 − ᾱ_t), √ᾱ_t)` of the velocity v_t.
    pub fn velocity(&self, timestep: usize) -> (f64, f64) {
        let (signal, noise) = self.add_noise(timestep);
        (-noise, signal)
    }

    /// Coefficients `(of x_0, of ε)` of the output that the model is trained towards.
    pub fn target(&self, timestep: usize) -> (f64, f64) {
        match self.prediction {
            Prediction::Epsilon => (0.0, 1.0),
            Prediction::VPrediction => self.velocity(timestep),
            Prediction::Sample => (1.0, 0.0),
        }
    }

    /// Signal-to-noise ratio `ᾱ_t / (1 − ᾱ_t)` (Hang et al. 2023, arXiv 2303.09556).
    pub fn snr(&self, timestep: usize) -> f64 {
        let (signal, noise) = self.add_noise(timestep);
        (signal / noise).powi(2)
    }

    /// What a timestep's squared error of ε, v or x₀ is multiplied with so that the error of x₀ has the weight
    /// min(SNR, γ) (Hang et al. 2023, arXiv 2303.09556): steps with little noise then count less.
    pub fn min_snr_weight(&self, timestep: usize, gamma: f64) -> f64 {
        let snr = self.snr(timestep);
        match self.prediction {
            Prediction::Epsilon => (gamma / snr).min(1.0),
            Prediction::VPrediction => snr.min(gamma) / (snr + 1.0),
            Prediction::Sample => snr.min(gamma),
        }
    }

    /// ᾱ at `timestep`, bounds-checked.
    pub(crate) fn alpha_cumprod(&self, timestep: usize) -> Result<f64, ScheduleError> {
        self.alphas_cumprod.get(timestep).copied().ok_or(ScheduleError::Timestep {
            timestep,
            num_train_timesteps: self.num_train_timesteps(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(json: &str) -> NoiseSchedule {
        NoiseSchedule::new(&SchedulerConfig::from_json(json).unwrap()).unwrap()
    }

    fn sd15() -> NoiseSchedule {
        schedule(r#"{"beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear"}"#)
    }

    /// The weight of x₀'s error is min(SNR, γ), whatever the model predicts: an error of ε is √SNR times as large
    /// as that of x₀, one of v √(SNR + 1) times.
    #[test]
    fn min_snr_weights_are_those_of_the_clean_sample() {
        let mut schedule = sd15();
        for timestep in [0, 100, 500, 999] {
            let snr = schedule.snr(timestep);
            let mut weight = |prediction, of_clean: f64| {
                schedule.prediction = prediction;
                schedule.min_snr_weight(timestep, 5.0) * of_clean
            };
            let expected = weight(Prediction::Sample, 1.0);
            assert_eq!(expected, snr.min(5.0));
            for found in
                [weight(Prediction::Epsilon, snr), weight(Prediction::VPrediction, snr + 1.0)]
            {
                assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
            }
        }
    }

    // The literals below are `s.alphas_cumprod[t].item()` of diffusers 0.42.1, torch 2.15 CPU,
    // s = DDPMScheduler.from_config(<the JSON of the test>).
    #[track_caller]
    fn assert_table(schedule: &NoiseSchedule, expected: &[(usize, f64)]) {
        for &(t, value) in expected {
            let got = schedule.alphas_cumprod[t];
            assert!((got - value).abs() <= 1e-7 * value, "t={t}: got {got}, expected {value}");
        }
    }

    #[test]
    fn tables_of_every_kind_are_diffusers() {
        assert_table(
            &sd15(),
            &[(0, 0.99914998), (1, 0.99829602), (500, 0.27633247), (999, 0.0046600951)],
        );
        assert_table(&schedule("{}"), &[(0, 0.99989998), (500, 0.077796653), (999, 4.0358304e-5)]);
        assert_table(
            &schedule(r#"{"beta_schedule":"squaredcos_cap_v2"}"#),
            &[(0, 0.99995869), (500, 0.49228504), (999, 2.428735e-9)],
        );
        assert_table(
            &schedule(r#"{"num_train_timesteps":3,"trained_betas":[0.1,0.2,0.3]}"#),
            &[(0, 0.89999998), (1, 0.71999997), (2, 0.50400001)],
        );
    }

    #[test]
    fn rescaled_table_ends_in_pure_noise() {
        let rescaled = schedule(
            r#"{"beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear",
                "rescale_betas_zero_snr":true}"#,
        );
        assert_table(&rescaled, &[(0, 0.99914998), (500, 0.24101855), (999, 0.0)]);
        assert_eq!(rescaled.add_noise(999), (0.0, 1.0));
        assert_eq!(rescaled.snr(999), 0.0);
    }

    #[test]
    fn laws_of_the_coefficients() {
        let schedule = sd15();
        let mut previous = f64::INFINITY;
        for t in 0..schedule.num_train_timesteps() {
            let (signal, noise) = schedule.add_noise(t);
            assert!((signal * signal + noise * noise - 1.0).abs() < 1e-14);
            let (of_sample, of_noise) = schedule.velocity(t);
            // The velocity is x_t turned by a quarter.
            assert!((of_sample * signal + of_noise * noise).abs() < 1e-14);
            assert!(schedule.snr(t) < previous);
            previous = schedule.snr(t);
        }
    }

    #[test]
    fn true_target_recovers_the_clean_sample() {
        let (clean, drawn) = (0.75, -1.25);
        for prediction in [Prediction::Epsilon, Prediction::VPrediction, Prediction::Sample] {
            let schedule = NoiseSchedule { prediction, ..sd15() };
            for t in [0, 1, 500, 999] {
                let (signal, noise) = schedule.add_noise(t);
                let (of_sample, of_noise) = schedule.target(t);
                let (a, b) = prediction.clean_sample(signal, noise);
                let x = signal * clean + noise * drawn;
                let x0 = a * x + b * (of_sample * clean + of_noise * drawn);
                assert!((x0 - clean).abs() < 1e-12, "{prediction:?} at t={t}: {x0}");
            }
        }
    }

    #[test]
    #[should_panic = "timestep 1000 is outside the schedule; valid timesteps are 0..1000"]
    fn timestep_out_of_range_names_both_sides() {
        sd15().add_noise(1000);
    }
}
