//! A mean with its standard error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A mean over concepts, as the paper's tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Standard error of the mean: s / √count, with count − 1 below the variance; `None` for one value.
    pub sem: Option<f64>,
    /// The number of values.
    pub count: usize,
}

impl Estimate {
    /// The mean of some values.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "a mean needs values");
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let sem = (count > 1).then(|| (squares / (count - 1) as f64 / count as f64).sqrt());
        Self { mean, sem, count }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sem {
            Some(sem) => f.pad(&format!("{:.3} ± {sem:.3}", self.mean)),
            None => f.pad(&format!("{:.3}", self.mean)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error_of_a_hand_table() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 6.0]);
        // Squares 4 + 1 + 0 + 9 = 14; 14 / 3 / 4.
        assert_eq!((estimate.mean, estimate.count), (3.0, 4));
        assert!((estimate.sem.unwrap() - (14f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(estimate.to_string(), "3.000 ± 1.080");
        assert_eq!(Estimate::of(&[0.5]), Estimate { mean: 0.5, sem: None, count: 1 });
    }
}
