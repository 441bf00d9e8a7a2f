//! One LoRA of a fixed rank in place of a change of any rank, and what that costs.

use nalgebra::DMatrix;
use rand_distr::{Distribution, StandardNormal};

use crate::lora::{PatchSet, StoredFactors, WeightPatch};
use crate::rng::Seed;

/// Columns above the rank that are iterated with: they make convergence depend on a later singular value.
const MORE: usize = 8;

/// Subspace iterations. Each squares the ratio of the singular values behind the last column to those in
/// front of the rank.
const ITERATIONS: usize = 12;

/// What a change loses at a lower rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncationError {
    /// ‖ΔW − A Bᵀ‖², summed over the layers.
    pub lost: f64,
    /// ‖ΔW‖², likewise.
    pub whole: f64,
}

impl TruncationError {
    /// ‖ΔW − A Bᵀ‖ / ‖ΔW‖; 0 if there is no change.
    pub fn relative(self) -> f64 {
        if self.whole == 0.0 { 0.0 } else { (self.lost / self.whole).sqrt() }
    }
}

/// Every patch as factors of at most this rank: its best approximation by truncated singular value
/// decomposition, found by subspace iteration. Also says what all of them lose together.
///
/// The error is that of the factors as they are returned, whether or not the iteration has converged.
pub fn truncate(patches: &PatchSet, rank: usize) -> (PatchSet, TruncationError) {
    let mut error = TruncationError { lost: 0.0, whole: 0.0 };
    let truncated = patches.0.iter().map(|(site, patch)| {
        let (patch, of_site) = truncated(patch, rank);
        error.lost += of_site.lost;
        error.whole += of_site.whole;
        (site.clone(), patch)
    });
    let truncated = PatchSet(truncated.collect());
    (truncated, error)
}

fn truncated(patch: &WeightPatch, rank: usize) -> (WeightPatch, TruncationError) {
    let delta = matrix(patch);
    let whole = delta.norm_squared();
    let lower = match patch {
        WeightPatch::LowRank(factors) if factors.rank <= rank => patch.clone(),
        _ => WeightPatch::LowRank(main_factors(&delta, rank)),
    };
    let lost = (delta - matrix(&lower)).norm_squared();
    (lower, TruncationError { lost, whole })
}

/// ΔW in f64.
fn matrix(patch: &WeightPatch) -> DMatrix<f64> {
    match patch {
        WeightPatch::LowRank(factors) => {
            let (up, down) = factors.to_matrices();
            up * down.transpose()
        }
        WeightPatch::Dense { outputs, inputs, values } => {
            let values = values.iter().map(|x| f64::from(*x));
            DMatrix::from_row_iterator(*outputs, *inputs, values)
        }
    }
}

/// A = U Σ and B = V of the largest singular values.
fn main_factors(delta: &DMatrix<f64>, rank: usize) -> StoredFactors {
    let (outputs, inputs) = delta.shape();
    let rank = rank.min(outputs).min(inputs);
    let columns = (rank + MORE).min(outputs).min(inputs);
    let mut numbers = StandardNormal.sample_iter(Seed::new(0).fork("truncate").at(0));
    let start = DMatrix::from_fn(inputs, columns, |_, _| numbers.next().expect("endless"));
    let mut basis = (delta * start).qr().q();
    for _ in 0..ITERATIONS {
        let across = delta.tr_mul(&basis).qr().q();
        basis = (delta * across).qr().q();
    }
    // ΔWᵀ Q = V Σ (Qᵀ U)ᵀ, singular values in falling order.
    let svd = delta.tr_mul(&basis).svd(true, true);
    let (right, turned) = (svd.u.expect("asked for"), svd.v_t.expect("asked for"));
    let left = basis * turned.transpose();
    let value = |column: usize| svd.singular_values[column];
    let up = (0..outputs).flat_map(|row| {
        let left = &left;
        (0..rank).map(move |column| (left[(row, column)] * value(column)) as f32)
    });
    let down = (0..rank)
        .flat_map(|column| right.column(column).iter().map(|x| *x as f32).collect::<Vec<_>>());
    StoredFactors { rank, up: up.collect(), down: down.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut numbers = StandardNormal.sample_iter(Seed::new(seed).at(0));
        DMatrix::from_fn(rows, columns, |_, _| numbers.next().unwrap())
    }

    fn dense(delta: &DMatrix<f64>) -> WeightPatch {
        let (outputs, inputs) = delta.shape();
        let values = delta.transpose().iter().map(|x| *x as f32).collect();
        WeightPatch::Dense { outputs, inputs, values }
    }

    /// Lower ranks lose exactly the energy of the singular values that they leave out.
    #[test]
    fn the_error_is_that_of_the_singular_value_decomposition() {
        for (outputs, inputs) in [(30, 20), (20, 30), (4, 4)] {
            let delta = random(outputs, inputs, 1);
            let values = delta.clone().svd(false, false).singular_values;
            for rank in [1, 3, 4, 50] {
                let set = PatchSet([("layer".to_string(), dense(&delta))].into());
                let (lower, error) = truncate(&set, rank);
                let expected: f64 = values.iter().skip(rank).map(|x| x * x).sum();
                assert!((error.whole - delta.norm_squared()).abs() < 1e-5 * error.whole);
                // 12 iterations leave little of the gap between neighbours.
                assert!(
                    (error.lost - expected).abs() < 1e-3 * error.whole,
                    "rank {rank}: {} instead of {expected}",
                    error.lost
                );
                let WeightPatch::LowRank(factors) = &lower.0["layer"] else { panic!("dense") };
                assert_eq!(factors.rank, rank.min(outputs).min(inputs));
            }
        }
    }

    /// What has the rank already comes back: factors bit for bit, a dense matrix up to rounding.
    #[test]
    fn what_has_the_rank_loses_nothing() {
        let (up, down) = (random(9, 2, 2), random(7, 2, 3));
        let numbers = |matrix: &DMatrix<f64>| matrix.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let factors = StoredFactors { rank: 2, up: numbers(&up.transpose()), down: numbers(&down) };
        let product = dense(&(&up * down.transpose()));
        let low = WeightPatch::LowRank(factors);
        let set = PatchSet([("a".to_string(), low.clone()), ("b".to_string(), product)].into());
        let (truncated, error) = truncate(&set, 2);
        assert_eq!(truncated.0["a"], low);
        assert!(error.relative() < 1e-6, "{error:?}");
        assert_eq!(truncate(&PatchSet::default(), 2).1.relative(), 0.0);
    }
}
