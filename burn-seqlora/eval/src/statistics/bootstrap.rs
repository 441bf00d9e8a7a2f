//! The percentile bootstrap of a mean.

use rand::Rng;
use seqlora_core::rng::Seed;
use serde::{Deserialize, Serialize};

/// How intervals are computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// How often the values are drawn again, with replacement.
    pub resamples: usize,
    /// The share of resampled means that an interval holds.
    pub level: f64,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, level: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// The interval between the quantiles `(1 ∓ level) / 2` of the means of resampled values
    /// (Efron and Tibshirani 1993, chapter 13). `None` for fewer than two values.
    pub fn interval(&self, values: &[f64]) -> Option<[f64; 2]> {
        if values.len() < 2 || self.resamples == 0 {
            return None;
        }
        let mut rng = Seed::new(self.seed).fork("bootstrap").at(0);
        let mut resampled = || {
            let draw = |_| values[below(values.len(), rng.next_u64())];
            (0..values.len()).map(draw).sum::<f64>() / values.len() as f64
        };
        let mut means: Vec<f64> = (0..self.resamples).map(|_| resampled()).collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some([quantile(&means, tail), quantile(&means, 1.0 - tail)])
    }
}

/// A number below `count` from 64 random bits. Some numbers are more likely than others by a share of
/// count / 2⁶⁴ at most.
pub(super) fn below(count: usize, bits: u64) -> usize {
    ((u128::from(bits) * count as u128) >> 64) as usize
}

/// The quantile `share` of sorted values, linearly interpolated between its neighbours as numpy does by
/// default.
///
/// # Panics
/// If there are no values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, rest) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + rest * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_have_three_means() {
        // Both extremes have a probability of 1/4, far above the tails of 2.5 %.
        assert_eq!(Bootstrap::default().interval(&[0.0, 1.0]), Some([0.0, 1.0]));
        // With 40 % in the middle only the mean of both, of probability 1/2, is left.
        let narrow = Bootstrap { level: 0.4, ..Bootstrap::default() };
        assert_eq!(narrow.interval(&[0.0, 1.0]), Some([0.5, 0.5]));
        assert_eq!(Bootstrap::default().interval(&[0.5]), None);
    }

    #[test]
    fn the_seed_decides_and_a_shift_moves_the_interval() {
        let values: Vec<f64> = (0..32).map(|i| f64::from(i * i % 17)).collect();
        let bootstrap = Bootstrap::default();
        let [low, high] = bootstrap.interval(&values).unwrap();
        assert_eq!(bootstrap.interval(&values), Some([low, high]));
        assert_ne!(Bootstrap { seed: 1, ..bootstrap }.interval(&values), Some([low, high]));
        let moved: Vec<f64> = values.iter().map(|x| x + 100.0).collect();
        let [moved_low, moved_high] = bootstrap.interval(&moved).unwrap();
        assert!((moved_low - low - 100.0).abs() < 1e-9 && (moved_high - high - 100.0).abs() < 1e-9);
    }

    #[test]
    fn every_number_below_is_drawn() {
        assert_eq!([0, u64::MAX].map(|bits| below(7, bits)), [0, 6]);
        assert_eq!(below(2, 1 << 63), 1);
    }
}
