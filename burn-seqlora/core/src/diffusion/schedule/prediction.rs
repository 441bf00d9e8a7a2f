//! What a model predicts.

use serde::{Deserialize, Serialize};

/// What a model's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise ε (Stable Diffusion 1.x).
    Epsilon,
    /// The velocity v (Stable Diffusion 2.x at 768 pixels).
    VPrediction,
    /// The clean sample x_0.
    Sample,
}

impl Prediction {
    /// Coefficients `(a, b)` of `x_0 = a·x + b·output`, for `x = signal·x_0 + noise·ε` with
    /// `signal² + noise² = 1`.
    ///
    /// Not finite for [`Prediction::Epsilon`] at `signal = 0`: pure noise says nothing of x_0.
    pub fn clean_sample(self, signal: f64, noise: f64) -> (f64, f64) {
        match self {
            Self::Epsilon => (1.0 / signal, -noise / signal),
            Self::VPrediction => (signal, -noise),
            Self::Sample => (0.0, 1.0),
        }
    }
}
