//! Which timesteps a sampler visits: table 2 of Lin et al. 2023 (arXiv 2305.08891), with numpy's
//! roundings.

use crate::diffusion::schedule::{ScheduleError, SchedulerConfig, choice};

/// How sampling timesteps are laid over the training timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Multiples of ⌊count / points⌋ from 0, plus the offset.
    Leading { offset: usize },
    /// From the last timestep down in equal strides, rounded.
    Trailing,
    /// From 0 to the last timestep, not rounded.
    Linspace,
}

impl Spacing {
    pub(super) fn new(config: &SchedulerConfig, default: &str) -> Result<Self, ScheduleError> {
        let options = [
            ("leading", Self::Leading { offset: config.steps_offset.unwrap_or(0) }),
            ("trailing", Self::Trailing),
            ("linspace", Self::Linspace),
        ];
        let name = config.timestep_spacing.as_deref().unwrap_or(default);
        choice("timestep_spacing", Some(name), Self::Linspace, &options)
    }

    /// `points` descending timesteps over the first `count` of `train` training timesteps.
    ///
    /// Trailing spacing takes its stride from all `train` of them, so it gives fewer points where
    /// DPM-Solver++ leaves out the noisiest.
    pub(super) fn timesteps(self, count: usize, points: usize, train: usize) -> Vec<f64> {
        match self {
            Self::Leading { offset } => {
                let stride = count / points;
                (0..points).rev().map(|i| (i * stride + offset) as f64).collect()
            }
            Self::Linspace => linspace(0.0, count.saturating_sub(1) as f64, points),
            Self::Trailing => trailing(count as f64, train as f64 / points as f64),
        }
    }
}

/// Evenly spaced from `end` down to `start`: `numpy.linspace(start, end, points)[::-1]`.
fn linspace(start: f64, end: f64, points: usize) -> Vec<f64> {
    if points == 1 {
        return vec![start];
    }
    let step = (end - start) / (points - 1) as f64;
    let below = (0..points - 1).rev().map(|i| i as f64 * step + start);
    std::iter::once(end).chain(below).collect()
}

/// `numpy.round(numpy.arange(count, 0, -stride)) - 1`, less the −1 that rounding can append.
fn trailing(count: f64, stride: f64) -> Vec<f64> {
    let length = (count / stride).ceil() as usize;
    let delta = (count - stride) - count; // numpy's stride: second element less first
    (0..length)
        .map(|i| (count + i as f64 * delta).round_ties_even() - 1.0)
        .filter(|&timestep| timestep >= 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_never_leaves_the_table() {
        for steps in 1..=1000 {
            let timesteps = Spacing::Trailing.timesteps(1000, steps, 1000);
            assert_eq!(timesteps.len(), steps);
            assert_eq!(timesteps[0], 999.0);
            assert!(timesteps.windows(2).all(|pair| pair[0] > pair[1]));
        }
    }

    #[test]
    fn one_point() {
        assert_eq!(Spacing::Leading { offset: 1 }.timesteps(1000, 1, 1000), [1.0]);
        assert_eq!(Spacing::Linspace.timesteps(1000, 1, 1000), [0.0]);
        assert_eq!(Spacing::Trailing.timesteps(1000, 1, 1000), [999.0]);
    }
}
