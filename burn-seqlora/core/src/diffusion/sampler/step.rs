//! One step of a sampler: from noise levels to linear coefficients.

use crate::diffusion::schedule::{Prediction, ScheduleError};

/// One sampling step: see the equations at the head of [`sampler`](super).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerStep {
    /// Timestep the model is given. Whole, except for Euler with linspace spacing or Karras levels.
    pub timestep: f64,
    /// Weight of x_0 in the sample that the step begins with, `signal · x_0 + noise · ε`.
    pub signal: f64,
    /// Weight of the noise ε in that sample.
    pub noise: f64,
    /// Factor of the sample before it enters the model.
    pub scale_input: f64,
    /// Weight of the (unscaled) sample in the clean-sample estimate.
    pub x0_from_sample: f64,
    /// Weight of the model's output in the clean-sample estimate.
    pub x0_from_output: f64,
    /// Weight of the sample in the next sample.
    pub next_from_sample: f64,
    /// Weight of this step's clean-sample estimate in the next sample.
    pub next_from_x0: f64,
    /// Weight of the previous step's clean-sample estimate; 0 where the step is of first order, as
    /// the first one always is.
    pub next_from_previous_x0: f64,
    /// Weight of fresh standard normal noise in the next sample; 0 for deterministic samplers.
    pub next_from_noise: f64,
}

/// What a sampler chooses: the noise levels that it passes through.
pub(super) struct Path {
    /// The standard deviation of the first sample.
    pub(super) init_noise_sigma: f64,
    /// The steps from one level to the next.
    pub(super) hops: Vec<Hop>,
}

/// Noise level: `x = signal·x_0 + noise·ε`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) signal: f64,
    pub(super) noise: f64,
}

impl Level {
    /// The level of noise-to-signal ratio `sigma` on the unit circle.
    pub(super) fn variance_preserving(sigma: f64) -> Self {
        let signal = 1.0 / sigma.hypot(1.0);
        Self { signal, noise: sigma * signal }
    }
}

/// One step between two levels.
pub(super) struct Hop {
    pub(super) timestep: f64,
    pub(super) from: Level,
    pub(super) to: Level,
    /// Weight w of the linear extrapolation `x_0 + w·(x_0 − x_0(previous step))` that takes the
    /// place of x_0 in the update; 0 in first order.
    pub(super) extrapolation: f64,
    /// Standard deviation of that part of `to`'s noise that is drawn afresh; the rest is ε of
    /// `from`.
    pub(super) fresh: f64,
}

impl Hop {
    /// The update; an error if it is not finite. `index` is for the error alone.
    pub(super) fn step(
        &self,
        index: usize,
        prediction: Prediction,
    ) -> Result<SamplerStep, ScheduleError> {
        let Self { timestep, from, to, extrapolation, fresh } = *self;
        // The model knows samples of unit variance: the sample is scaled onto the unit circle.
        let scale_input = 1.0 / from.signal.hypot(from.noise);
        let (from_input, x0_from_output) =
            prediction.clean_sample(from.signal * scale_input, from.noise * scale_input);
        let kept = (to.noise.powi(2) - fresh.powi(2)).sqrt();
        let next_from_sample = kept / from.noise;
        let phi = to.signal - from.signal * next_from_sample;
        let step = SamplerStep {
            timestep,
            signal: from.signal,
            noise: from.noise,
            scale_input,
            x0_from_sample: from_input * scale_input,
            x0_from_output,
            next_from_sample,
            next_from_x0: phi * (1.0 + extrapolation),
            next_from_previous_x0: -phi * extrapolation,
            next_from_noise: fresh,
        };
        let coefficients = [
            step.x0_from_sample,
            step.x0_from_output,
            step.next_from_sample,
            step.next_from_x0,
            step.next_from_previous_x0,
            step.next_from_noise,
        ];
        if coefficients.iter().all(|value| value.is_finite()) {
            Ok(step)
        } else {
            Err(ScheduleError::Degenerate { step: index, timestep })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept and what is fresh add up to the noise of the level, and x_0 keeps its weight.
    #[test]
    fn fresh_noise_takes_the_place_of_the_old() {
        let [from, to] = [2.5, 0.8].map(Level::variance_preserving);
        for fresh in [0.0, 0.3, to.noise] {
            let hop = Hop { timestep: 0.0, from, to, extrapolation: 0.0, fresh };
            let step = hop.step(0, Prediction::Epsilon).unwrap();
            let signal = step.next_from_sample * from.signal + step.next_from_x0;
            let noise = (step.next_from_sample * from.noise).hypot(step.next_from_noise);
            assert!((signal - to.signal).abs() < 1e-14 && (noise - to.noise).abs() < 1e-14);
        }
    }

    #[test]
    fn first_order_steps_of_all_samplers_agree() {
        // One update between the same two levels: DDIM = DPM-Solver++ of order 1 = Euler, rescaled.
        let (from, to) = (2.5_f64, 0.8_f64);
        let hop = |from, to| Hop { timestep: 0.0, from, to, extrapolation: 0.0, fresh: 0.0 };
        let circle = hop(Level::variance_preserving(from), Level::variance_preserving(to));
        let line = hop(Level { signal: 1.0, noise: from }, Level { signal: 1.0, noise: to });
        let circle = circle.step(0, Prediction::Epsilon).unwrap();
        let line = line.step(0, Prediction::Epsilon).unwrap();
        let scale = to.hypot(1.0);
        assert!((line.next_from_x0 - circle.next_from_x0 * scale).abs() < 1e-14);
        let rescaled = circle.next_from_sample * scale / from.hypot(1.0);
        assert!((line.next_from_sample - rescaled).abs() < 1e-14);
    }
}
