//! Mix-of-Show's gradient fusion (arXiv 2305.18292): each concept's outputs on its own inputs, approached by
//! L-BFGS from the base weights.
//!
//! ```text
//! W = argmin_W Σ_i ‖(W₀ + λ_i ΔW_i) X_i − W X_i‖²
//!   = W₀ + (Σ_i λ_i ΔW_i G_i) (Σ_i G_i)⁺             G_i = X_i X_iᵀ
//! ```
//!
//! The released code holds the rows of all X_i, 5.5 GB per concept of Stable Diffusion 1.5. But the loss
//! depends on them through the Gram matrices alone, and with the same losses and gradients L-BFGS goes the
//! same way. [`fuse_in_stages`](super::fuse_in_stages) records the inputs as Mix-of-Show does.

use nalgebra::{DMatrix, SymmetricEigen};

use super::contract::{Fusion, Layer, LayerMember, Statistics};
use super::lbfgs::{Function, Lbfgs};
use super::output_error::{OutputError, Reduced};
use crate::error::Result;
use crate::lora::{Part, Site, WeightPatch};

/// Eigenvalues of a Gram matrix below this share of the largest are its round-off in f32.
const GRAM_TOLERANCE: f64 = 1e-6;

/// How a layer's problem is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FusionSolver {
    /// L-BFGS with the settings of the released code: rate 1, 25 remembered steps, strong Wolfe
    /// conditions, tolerances of 1e-16. It returns the best weight that was evaluated.
    Lbfgs {
        /// Iterations where inputs come from prompts: the text encoder, and keys and values of
        /// cross-attention.
        prompt_iterations: usize,
        /// Iterations at all other layers.
        spatial_iterations: usize,
    },
    /// The closed form, whose change is zero outside of the span of all inputs. Directions with less than
    /// 1e-6 of the largest energy do not count.
    ClosedForm,
}

/// Least squares on the members' outputs without a ridge, as Mix-of-Show computes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixOfShow {
    /// How a layer's problem is solved.
    pub solver: FusionSolver,
}

impl MixOfShow {
    /// Its name in settings and reports.
    pub const NAME: &'static str = "mix-of-show";
}

impl Default for MixOfShow {
    /// The iterations of the released script (`fuse.sh`).
    fn default() -> Self {
        let solver = FusionSolver::Lbfgs { prompt_iterations: 500, spatial_iterations: 50 };
        Self { solver }
    }
}

/// What the released code passes to L-BFGS besides the number of iterations.
const HISTORY: usize = 25;
const TOLERANCE: f64 = 1e-16;

impl Fusion for MixOfShow {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn description(&self) -> &'static str {
        "by Mix-of-Show's gradient fusion"
    }

    fn needs(&self) -> Statistics {
        // Of prompts all inputs are kept: their Gram matrices are singular, and then exact in f64.
        Statistics::GramAndInputs
    }

    fn memory(&self, site: &Site, ranks: &[usize]) -> usize {
        let (m, n) = (site.inputs, site.outputs);
        let rank = ranks.iter().sum::<usize>().min(n);
        let largest = ranks.iter().copied().max().unwrap_or(0);
        let solver = match self.solver {
            // Two matrices per remembered step; the points of a line search.
            FusionSolver::Lbfgs { .. } => (2 * HISTORY + 12) * rank * m,
            FusionSolver::ClosedForm => 3 * m * m + 2 * rank * m,
        };
        // Σ G_i and one G_i; T, U and two changes; one member's factors; then the result.
        let sums = 2 * m * m + 3 * n * m + 2 * n * rank + 3 * largest * (n + m);
        size_of::<f64>() * (sums + solver) + size_of::<f32>() * n * m
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = Result<LayerMember>>,
    ) -> Result<WeightPatch> {
        let mut error = OutputError::new(layer.site);
        for member in members {
            error.add(&member?);
        }
        let problem = error.reduce();
        let delta = match self.solver {
            FusionSolver::Lbfgs { prompt_iterations, spatial_iterations } => {
                let prompt = layer.site.part == Part::TextEncoder || layer.site.reads_prompt();
                let iterations = if prompt { prompt_iterations } else { spatial_iterations };
                let start = DMatrix::zeros(problem.error.target.nrows(), layer.site.inputs);
                let lbfgs = Lbfgs { iterations, history: HISTORY, tolerance: TOLERANCE };
                let elements = problem.error.rows * layer.site.outputs;
                lbfgs.minimize(&MeanSquare { problem: &problem, elements }, start)
            }
            FusionSolver::ClosedForm => closed_form(&problem.error),
        };
        layer.dense_patch(&problem.full(&delta))
    }
}

/// The mean square over all rows and outputs, which the released code minimises.
struct MeanSquare<'a> {
    problem: &'a Reduced,
    /// Rows times outputs.
    elements: usize,
}

impl Function for MeanSquare<'_> {
    fn evaluate(&self, x: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
        let at = self.problem.error.at(x);
        let elements = self.elements as f64;
        (at.value / elements, at.residual * (2.0 / elements))
    }

    fn sum(&self, x: &DMatrix<f64>) -> f64 {
        self.problem.full(x).iter().map(|x| x.abs()).sum()
    }

    /// The norm, which is the same in both coordinates, nearly always tells without a product.
    fn exceeds(&self, x: &DMatrix<f64>, bound: f64) -> bool {
        let (norm, elements) = (x.norm(), self.problem.elements());
        match norm > bound * (elements as f64).sqrt() {
            true => true,
            false => norm > bound && self.problem.full(x).amax() > bound,
        }
    }
}

/// T C⁺
fn closed_form(error: &OutputError) -> DMatrix<f64> {
    let SymmetricEigen { eigenvectors, eigenvalues } = error.gram.clone().symmetric_eigen();
    let least = GRAM_TOLERANCE * eigenvalues.amax();
    let mut along = &error.target * &eigenvectors;
    for (mut column, value) in along.column_iter_mut().zip(&eigenvalues) {
        column *= if *value > least { 1.0 / value } else { 0.0 };
    }
    along * eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::lora::{Gram, Role, StoredFactors};
    use crate::rng::Seed;

    const INPUTS: usize = 96;
    const OUTPUTS: usize = 40;
    const ROWS: usize = 8;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        StandardNormal.sample_iter(Seed::new(seed).at(0)).take(count).collect()
    }

    /// Two concepts with 16 inputs for 96 dimensions, as prompts have them: on their own inputs both
    /// come back, and nothing large happens elsewhere, in f64 and with the round-off of f32.
    #[test]
    fn few_inputs_have_a_fusion() {
        let (part, role) = (Part::TextEncoder, Role::SelfAttention);
        let (inputs, outputs) = (INPUTS, OUTPUTS);
        let site = Site { name: "layer".into(), inputs, outputs, part, role };
        let weight = || DMatrix::zeros(OUTPUTS, INPUTS);
        let layer = Layer { site: &site, weight: &weight };
        let factors = [0, 1].map(|concept| StoredFactors {
            rank: 2,
            up: numbers(OUTPUTS * 2, 10 + concept),
            down: numbers(INPUTS * 2, 20 + concept),
        });
        let rows = [0, 1].map(|concept| numbers(ROWS * INPUTS, 30 + concept));
        for (keep, solver) in [
            (true, MixOfShow::default().solver),
            (false, MixOfShow::default().solver),
            (true, FusionSolver::ClosedForm),
            (false, FusionSolver::ClosedForm),
        ] {
            let member = |concept: usize| {
                let x = DMatrix::<f32>::from_row_slice(ROWS, INPUTS, &rows[concept]);
                let values = (x.transpose() * x).iter().copied().collect();
                let kept = if keep { rows[concept].clone() } else { Vec::new() };
                let gram = Some(Gram { rows: ROWS, inputs, values, kept });
                Ok(LayerMember {
                    id: "cat",
                    scale: 1.0,
                    factors: Some(factors[concept].clone()),
                    gram,
                })
            };
            let fusion = MixOfShow { solver };
            let patch = fusion.fuse(&layer, &mut (0..2).map(member)).unwrap();
            let delta = patch.delta().into_iter().map(f64::from);
            let delta = DMatrix::from_row_iterator(OUTPUTS, INPUTS, delta);
            let mut largest = 0.0f64;
            for (rows, factors) in rows.iter().zip(&factors) {
                let rows = rows.iter().map(|x| f64::from(*x));
                let x = DMatrix::from_row_iterator(ROWS, INPUTS, rows);
                let (up, down) = factors.to_matrices();
                let own = up * down.transpose();
                largest = largest.max(own.norm());
                let error =
                    (&x * (&delta - &own).transpose()).norm() / (x * own.transpose()).norm();
                assert!(error < 1e-3, "{solver:?}, kept {keep}: {error:.2e}");
            }
            assert!(delta.norm() < 2.0 * largest, "{solver:?}, kept {keep}: {}", delta.norm());
        }
    }
}
