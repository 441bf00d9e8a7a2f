//! The error of the members' outputs as a function of one ΔW, on Gram matrices.

use std::borrow::Cow;

use nalgebra::DMatrix;

use super::contract::LayerMember;
use crate::lora::Site;

/// The relative error of a Gram matrix in f32, with room for sums over many rows.
const ROUND_OFF: f64 = 1e-6;

/// ```text
/// E(ΔW) = Σ_i ‖(ΔW − ΔW_i) X_i‖² = ⟨ΔW, ΔW C⟩ − 2 ⟨ΔW, T⟩ + c
/// C = Σ_i G_i,  T = Σ_i ΔW_i G_i,  c = Σ_i ⟨ΔW_i, ΔW_i G_i⟩,  G_i = X_i X_iᵀ,  ΔW_i = λ_i A_i B_iᵀ
/// ```
///
/// Members are added one after the other, and nothing of them is kept but these sums and the columns of A:
/// it takes as much memory for any number of rows, and of members whose ranks add up to n or more.
#[derive(Debug)]
pub(super) struct OutputError {
    /// C `[m, m]`
    pub gram: DMatrix<f64>,
    /// T `[n, m]`
    pub target: DMatrix<f64>,
    /// c
    pub energy: f64,
    /// The rows of all X_i.
    pub rows: usize,
    /// The members added.
    pub members: usize,
    /// Whether some G_i has the round-off of f32.
    rounded: bool,
    /// The columns of all A_i, until they are n.
    columns: Vec<f64>,
}

/// E at one ΔW.
#[derive(Debug)]
pub(super) struct ErrorAt {
    /// E
    pub value: f64,
    /// ΔW C − T, half of the gradient.
    pub residual: DMatrix<f64>,
    /// Σ_i ‖ΔW X_i‖²
    pub change: f64,
}

impl OutputError {
    /// Of no member yet.
    pub fn new(site: &Site) -> Self {
        let Site { inputs, outputs, .. } = *site;
        Self {
            gram: DMatrix::zeros(inputs, inputs),
            target: DMatrix::zeros(outputs, inputs),
            energy: 0.0,
            rows: 0,
            members: 0,
            rounded: false,
            columns: Vec::new(),
        }
    }

    /// Adds a member's inputs and its change.
    pub fn add(&mut self, member: &LayerMember) {
        let (gram, outputs) = (member.gram().to_matrix(), self.target.nrows());
        self.rounded |= !member.gram().is_exact();
        if let Some(factors) = &member.factors {
            let (up, down) = factors.to_matrices();
            let up = up * member.scale;
            // Bᵀ G
            let seen = down.transpose() * &gram;
            self.energy += (up.transpose() * &up).dot(&(&seen * down));
            self.target.gemm(1.0, &up, &seen, 1.0);
            if self.columns.len() < outputs * outputs {
                self.columns.extend(up.iter());
            }
        }
        self.gram += gram;
        self.rows += member.gram().rows;
        self.members += 1;
    }

    /// E and its derivative.
    pub fn at(&self, delta: &DMatrix<f64>) -> ErrorAt {
        let mut residual = -&self.target;
        residual.gemm(1.0, delta, &self.gram, 1.0);
        let (along, target) = (delta.dot(&residual), delta.dot(&self.target));
        ErrorAt { value: along - target + self.energy, residual, change: along + target }
    }

    /// The same problem in the coordinates in which it is smallest, and with a minimum.
    ///
    /// Along directions that no input has, the round-off of G_i in f32 can be of either sign, and E without
    /// a lower bound. So a sum of rounded matrices gets a ridge that is as large: entries with a relative
    /// error of 1e-6 make one of about 1e-6 trace / √m.
    pub fn reduce(mut self) -> Reduced {
        if self.rounded {
            let inputs = self.gram.nrows();
            let ridge = ROUND_OFF * self.gram.trace() / (inputs as f64).sqrt();
            (0..inputs).for_each(|i| self.gram[(i, i)] += ridge);
        }
        let outputs = self.target.nrows();
        let columns = self.columns.len() / outputs.max(1);
        let basis = (columns < outputs)
            .then(|| DMatrix::from_vec(outputs, columns, self.columns.clone()).qr().q());
        let target = match &basis {
            Some(basis) => basis.transpose() * &self.target,
            None => self.target,
        };
        Reduced { error: Self { target, columns: Vec::new(), ..self }, basis }
    }
}

/// [`OutputError`] with ΔW = U F.
///
/// Its gradient is 2 (ΔW C − T), and T is in the span of all columns of A. What begins at ΔW = 0 and moves
/// along combinations of gradients never leaves that span; U `[n, R]` is an orthonormal basis of it, and
/// R = Σ r_i is far below n with a few concepts. Then F has R rows instead of n, with the same inner
/// products.
#[derive(Debug)]
pub(super) struct Reduced {
    /// Of F instead of ΔW.
    pub error: OutputError,
    /// U; `None` for the identity.
    basis: Option<DMatrix<f64>>,
}

impl Reduced {
    /// The number of elements of ΔW.
    pub fn elements(&self) -> usize {
        let outputs = self.basis.as_ref().map_or(self.error.target.nrows(), DMatrix::nrows);
        outputs * self.error.target.ncols()
    }

    /// U F
    pub fn full<'a>(&self, reduced: &'a DMatrix<f64>) -> Cow<'a, DMatrix<f64>> {
        match &self.basis {
            Some(basis) => Cow::Owned(basis * reduced),
            None => Cow::Borrowed(reduced),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::lora::{Gram, Part, Role, StoredFactors};
    use crate::rng::Seed;

    const INPUTS: usize = 6;
    const OUTPUTS: usize = 7;
    const ROWS: usize = 9;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        // Few bits, so that a Gram matrix in f32 is exact.
        let few = |x: f64| (4.0 * x).round() as f32 / 4.0;
        StandardNormal.sample_iter(Seed::new(seed).at(0)).take(count).map(few).collect()
    }

    fn matrix(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let numbers = numbers(rows * columns, seed);
        DMatrix::from_row_iterator(rows, columns, numbers.into_iter().map(f64::from))
    }

    /// The problem of some members of rank 2 at strength ½, and the same error from rows.
    fn problem(members: u64, keep: bool) -> (OutputError, impl Fn(&DMatrix<f64>) -> f64) {
        let (part, role) = (Part::Denoiser, Role::SelfAttention);
        let (inputs, outputs) = (INPUTS, OUTPUTS);
        let site = Site { name: "layer".into(), inputs, outputs, part, role };
        let mut error = OutputError::new(&site);
        for member in 0..members {
            let x = matrix(ROWS, inputs, 10 + member);
            let values = (x.transpose() * &x).iter().map(|x| *x as f32).collect();
            let kept = if keep { numbers(ROWS * inputs, 10 + member) } else { Vec::new() };
            let factors = StoredFactors {
                rank: 2,
                up: numbers(outputs * 2, 20 + member),
                down: numbers(inputs * 2, 30 + member),
            };
            let gram = Some(Gram { rows: ROWS, inputs, values, kept });
            error.add(&LayerMember { id: "cat", scale: 0.5, factors: Some(factors), gram });
        }
        let of_rows = move |delta: &DMatrix<f64>| {
            let of_member = |member| {
                let (a, b) = (matrix(outputs, 2, 20 + member), matrix(2, inputs, 30 + member));
                let x = matrix(ROWS, inputs, 10 + member);
                (x * (delta - a * b * 0.5).transpose()).norm_squared()
            };
            (0..members).map(of_member).sum()
        };
        (error, of_rows)
    }

    /// The value from Gram matrices is the one from rows, and the residual half of its derivative.
    #[test]
    fn gram_matrices_hold_the_error_of_all_rows() {
        for keep in [false, true] {
            check_error(keep);
        }
    }

    fn check_error(keep: bool) {
        let (error, of_rows) = problem(3, keep);
        let delta = matrix(OUTPUTS, INPUTS, 1);
        let ErrorAt { value, residual, change } = error.at(&delta);
        let expected = of_rows(&delta);
        assert!((value - expected).abs() < 1e-12 * expected, "{value} {expected}");
        let of_change =
            (0..3).map(|i| (matrix(ROWS, INPUTS, 10 + i) * delta.transpose()).norm_squared());
        assert!((change - of_change.sum::<f64>()).abs() < 1e-12 * change);
        for at in 0..delta.len() {
            let moved = |by: f64| {
                let mut moved = delta.clone();
                moved[at] += by;
                of_rows(&moved)
            };
            let slope = (moved(0.5) - moved(-0.5)) / 2.0;
            assert!((residual[at] - slope).abs() < 1e-10 * residual.amax(), "{at}");
        }
        assert_eq!((error.rows, error.members), (27, 3));
    }

    /// A direction without inputs, in which round-off has made the Gram matrix negative.
    #[test]
    fn round_off_leaves_a_minimum() {
        let (mut error, _) = problem(1, false);
        error.gram[(0, 0)] = -1e-8 * error.gram.trace();
        for i in 1..INPUTS {
            (error.gram[(0, i)], error.gram[(i, 0)]) = (0.0, 0.0);
        }
        assert!(error.reduce().error.gram.symmetric_eigenvalues().min() > 0.0);
    }

    /// With 6 columns of A for 7 outputs there is a smaller problem, with 8 there is none.
    #[test]
    fn a_smaller_problem_has_the_same_values_and_gradients() {
        for (members, rows) in [(3, 6), (4, OUTPUTS)] {
            let (error, _) = problem(members, true);
            let (whole, _) = problem(members, true);
            let reduced = error.reduce();
            let at = matrix(rows, INPUTS, 2);
            let (small, large) = (reduced.error.at(&at), whole.at(&reduced.full(&at)));
            assert!((small.value - large.value).abs() < 1e-11 * large.value);
            let difference = reduced.full(&small.residual).as_ref() - &large.residual;
            assert!(difference.amax() < 1e-11 * large.residual.amax());
        }
    }
}
