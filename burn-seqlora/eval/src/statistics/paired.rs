//! Two methods on the same concepts.

use rand::Rng;
use seqlora_core::rng::Seed;
use serde::{Deserialize, Serialize};

use super::{Bootstrap, Distribution};

/// Up to so many differences all 2ⁿ signs are enumerated; more are drawn.
const ENUMERATED: usize = 14;

/// Draws of signs where they are not enumerated.
const DRAWS: usize = 20_000;

/// The difference of two methods, concept by concept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedDifference {
    /// First minus second, over concepts.
    pub difference: Distribution,
    /// Two-sided p of the sign-flip test, for this comparison alone.
    pub p: f64,
}

impl PairedDifference {
    /// Compares values of the same concepts; `None` if there are none.
    ///
    /// # Panics
    /// If they are not as many.
    pub fn of(first: &[f64], second: &[f64], bootstrap: &Bootstrap) -> Option<Self> {
        assert_eq!(first.len(), second.len(), "pairs have two values");
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let difference = Distribution::of(&differences, bootstrap)?;
        Some(Self { difference, p: sign_flip(&differences, bootstrap.seed) })
    }
}

/// The two-sided p of differences that are as likely to have either sign: the share of all signs for
/// which the mean is as far from 0 as it is. Beyond 14 differences it is estimated from 20,000 draws, of
/// which the observed signs are one more.
pub fn sign_flip(differences: &[f64], seed: u64) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    let scale: f64 = differences.iter().map(|x| x.abs()).sum();
    // Sums in another order differ by rounding.
    let as_far = |sum: f64| sum.abs() >= observed - 1e-12 * scale;
    let count = differences.len();
    if count <= ENUMERATED {
        let signs = 0..1_usize << count;
        let far =
            signs.clone().filter(|signs| as_far(flipped(differences, |i| signs >> i & 1 == 1)));
        return far.count() as f64 / signs.len() as f64;
    }
    let mut rng = Seed::new(seed).fork("signs").at(0);
    let far = (0..DRAWS).filter(|_| as_far(flipped(differences, |_| rng.next_u64() >> 63 == 1)));
    (far.count() + 1) as f64 / (DRAWS + 1) as f64
}

fn flipped(differences: &[f64], mut negative: impl FnMut(usize) -> bool) -> f64 {
    let signed = |(number, x): (usize, &f64)| if negative(number) { -x } else { *x };
    differences.iter().enumerate().map(signed).sum()
}

/// p values of several tests, adjusted so that the probability of any wrong rejection stays below the
/// level (Holm 1979); in the given order.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut least) = (vec![1.0; p.len()], 0.0_f64);
    for (rank, number) in order.into_iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[number]).min(1.0);
        adjusted[number] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_a_hand_table() {
        // Of eight signs only all plus and all minus reach 3.
        assert_eq!(sign_flip(&[1.0, 1.0, 1.0], 0), 0.25);
        assert_eq!(sign_flip(&[1.0, -1.0], 0), 1.0);
        assert_eq!(sign_flip(&[0.0; 5], 0), 1.0);
        // Twenty of one sign: 2 of 2²⁰ signs, of which none is drawn but the observed one.
        let many = sign_flip(&[1.0; 20], 0);
        assert!(many < 3.0 / 20_000.0, "{many}");
    }

    #[test]
    fn holm_by_hand() {
        // 3 · 0.01, then 2 · 0.03, then 1 · 0.04, which may not be less than the one before.
        let found = holm(&[0.04, 0.01, 0.03]);
        for (found, expected) in found.iter().zip([0.06, 0.03, 0.06]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
