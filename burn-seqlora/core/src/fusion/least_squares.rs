//! Least squares on the outputs that each concept's layers have for the concept's own inputs, in closed form.
//!
//! ```text
//! min_W Σ_i ‖(W − W_i) X_i‖² + ρ ‖W − W₀‖²        W_i = W₀ + λ_i A_i B_iᵀ
//! W = (Σ_i W_i G_i + ρ W₀) (Σ_i G_i + ρ I)⁻¹      G_i = X_i X_iᵀ
//!   = W₀ + (Σ_i λ_i A_i B_iᵀ G_i) (Σ_i G_i + ρ I)⁻¹
//! ```
//!
//! Mix-of-Show's gradient fusion (arXiv 2305.18292) approaches this minimum for ρ = 0 with LBFGS from W₀.
//! The objective depends on the inputs X_i `[m, rows]` through G_i alone.

use nalgebra::{Cholesky, DMatrix};

use super::contract::{Fusion, Layer, LayerMember, Statistics};
use crate::error::{Error, Result};
use crate::lora::{Site, WeightPatch};

/// Ridge regression on the members' outputs, solved by Cholesky in f64. All inputs count equally, so a
/// member with more inputs has more weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeastSquares {
    /// ρ as a share of the mean eigenvalue of Σ G_i.
    ///
    /// It costs each input direction at most the output energy ρ/4 · ‖ΔW‖². At the default of 1e-4 that
    /// is 2.5e-5 of the mean over the directions. The default is not below the rounding error of G_i in
    /// f32, which is 1e-7 of the largest eigenvalue, and that can be m ≈ 1000 times the mean.
    pub ridge: f64,
}

impl LeastSquares {
    /// Its name in settings and reports.
    pub const NAME: &'static str = "least-squares";
}

impl Default for LeastSquares {
    fn default() -> Self {
        Self { ridge: 1e-4 }
    }
}

impl Fusion for LeastSquares {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn description(&self) -> &'static str {
        "by least squares on the inputs of each concept's layers"
    }

    fn needs(&self) -> Statistics {
        Statistics::Gram
    }

    fn memory(&self, site: &Site, ranks: &[usize]) -> usize {
        let (m, n) = (site.inputs, site.outputs);
        let rank = ranks.iter().copied().max().unwrap_or(0);
        // Σ G_i and one G_i, the right-hand side, one member's A, Aᵀ, B and G_i B; then the result.
        size_of::<f64>() * (2 * m * m + n * m + 2 * rank * (n + m)) + size_of::<f32>() * n * m
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = Result<LayerMember>>,
    ) -> Result<WeightPatch> {
        let Site { name, inputs, outputs, .. } = layer.site;
        let mut grams = DMatrix::zeros(*inputs, *inputs);
        // (Σ λ_i A_i B_iᵀ G_i)ᵀ
        let mut targets = DMatrix::zeros(*inputs, *outputs);
        for member in members {
            let member = member?;
            let gram = member.gram().to_matrix();
            if let Some(factors) = &member.factors {
                let (up, down) = factors.to_matrices();
                targets.gemm(member.scale, &(&gram * down), &up.transpose(), 1.0);
            }
            grams += gram;
        }
        let ridge = self.ridge * grams.trace() / *inputs as f64;
        for i in 0..*inputs {
            grams[(i, i)] += ridge;
        }
        let cholesky = Cholesky::new(grams).ok_or_else(|| {
            Error::Invalid(format!(
                "the concepts' inputs of `{name}` do not span its {inputs} dimensions, so that \
                 least squares has no unique solution; use a `ridge` above {}",
                self.ridge
            ))
        })?;
        cholesky.solve_mut(&mut targets);
        // ΔWᵀ column by column is ΔW row by row.
        let values = targets.iter().map(|x| *x as f32).collect();
        Ok(WeightPatch::Dense { outputs: *outputs, inputs: *inputs, values })
    }
}
