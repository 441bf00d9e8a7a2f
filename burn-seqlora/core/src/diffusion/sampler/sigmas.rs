//! Noise-to-signal ratios σ_t = √((1 − ᾱ_t)/ᾱ_t) of a schedule, and levels between its timesteps.

use crate::diffusion::schedule::{NoiseSchedule, ScheduleError, SchedulerConfig, choice, refuse};

/// σ_t of every training timestep, ascending; float32 values, as in diffusers.
pub(super) struct Sigmas(Vec<f64>);

impl Sigmas {
    pub(super) fn new(config: &SchedulerConfig, schedule: &NoiseSchedule) -> Self {
        let mut alphas: Vec<f32> = schedule.alphas_cumprod.iter().map(|&a| a as f32).collect();
        if config.rescale_betas_zero_snr()
            && let Some(last) = alphas.last_mut()
        {
            // The rescaled table ends at 0; the smallest positive float16 keeps σ finite.
            *last = 2.0_f32.powi(-24);
        }
        Self(alphas.into_iter().map(|a| f64::from(((1.0 - a) / a).sqrt())).collect())
    }

    /// Level after the last step.
    pub(super) fn last(&self, config: &SchedulerConfig) -> Result<f64, ScheduleError> {
        let options = [("zero", 0.0), ("sigma_min", self.0[0])];
        choice("final_sigmas_type", config.final_sigmas_type.as_deref(), 0.0, &options)
    }

    /// Lowest and highest ratio of the table.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }

    /// Linear interpolation between timesteps, constant outside: `numpy.interp`.
    pub(super) fn at(&self, timestep: f64) -> f64 {
        let last = self.0.len() - 1;
        if timestep >= last as f64 {
            return self.0[last];
        }
        let low = timestep.max(0.0).floor() as usize;
        (self.0[low + 1] - self.0[low]) * (timestep.max(0.0) - low as f64) + self.0[low]
    }

    /// Timestep of a ratio, interpolated in log σ: diffusers `_sigma_to_t`.
    pub(super) fn timestep(&self, sigma: f64) -> f64 {
        let log = |sigma: f64| f64::from((sigma as f32).ln());
        let log_sigma = sigma.max(1e-10).ln();
        let below = self.0.partition_point(|&other| log(other) <= log_sigma);
        let low = below.saturating_sub(1).min(self.0.len().saturating_sub(2));
        let high = (low + 1).min(self.0.len() - 1);
        let (log_low, log_high) = (log(self.0[low]), log(self.0[high]));
        let weight = ((log_low - log_sigma) / (log_low - log_high)).clamp(0.0, 1.0);
        (1.0 - weight) * low as f64 + weight * high as f64
    }

    /// Number of timesteps, from the first, whose log(signal/noise) is at least `lambda_min`.
    pub(super) fn count_above(&self, lambda_min: f64) -> usize {
        self.0.iter().filter(|&&sigma| -f64::from((sigma as f32).ln()) >= lambda_min).count()
    }
}

/// Whether the file asks for Karras levels; refuses the levels that are not implemented.
pub(super) fn use_karras(config: &SchedulerConfig) -> Result<bool, ScheduleError> {
    refuse("use_exponential_sigmas", config.use_exponential_sigmas, false)?;
    refuse("use_beta_sigmas", config.use_beta_sigmas, false)?;
    Ok(config.use_karras_sigmas.unwrap_or(false))
}

/// σ_i = (σ_max^{1/ρ} + i/(n−1)·(σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ with ρ = 7, descending.
///
/// Karras et al. 2022 (arXiv 2206.00364) eq. 5. The file's `sigma_min` and `sigma_max` replace
/// `range`.
pub(super) fn karras(config: &SchedulerConfig, range: (f64, f64), count: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let low = config.sigma_min.unwrap_or(range.0).powf(1.0 / RHO);
    let high = config.sigma_max.unwrap_or(range.1).powf(1.0 / RHO);
    let intervals = count.max(2) - 1;
    (0..count).map(|i| (high + i as f64 / intervals as f64 * (low - high)).powf(RHO)).collect()
}

/// The float32 value of a float64, as diffusers stores its levels.
pub(super) fn float32(value: f64) -> f64 {
    f64::from(value as f32)
}
