//! New orthonormal directions, orthogonal to those of earlier concepts, on the host in f64.
//!
//! A layer's matrices are small (m × 4), so the rank test and the change of gauge are done here;
//! the projection inside the training loop is [`seqlora_kernels::project`].

use nalgebra::{DMatrix, SymmetricEigen};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A random candidate counts as a new direction if this share of it survives the projection: where none
/// are left, what survives is round-off.
const FRESH_TOLERANCE: f64 = 1e-3;

/// A trained column counts as a direction of its own if this share of it survives: what is below is the
/// round-off of columns in f32, whose share is about 1e-7.
const GAUGE_TOLERANCE: f64 = 1e-6;

/// Eigenvalues below this share of the largest are the round-off of a Gram matrix in f32.
const GRAM_TOLERANCE: f64 = 1e-6;

/// How often a dependent candidate is drawn anew.
const REDRAWS: usize = 10;

/// Columns of a matrix `[m, columns]`.
pub type Columns = Vec<Vec<f64>>;

/// Splits a row-major `[m, columns]` matrix.
pub fn to_columns(values: &[f32], columns: usize) -> Columns {
    (0..columns)
        .map(|c| values.iter().skip(c).step_by(columns).map(|x| *x as f64).collect())
        .collect()
}

/// Joins columns to a row-major `[m, columns]` matrix.
pub fn from_columns(columns: &[Vec<f64>]) -> Vec<f32> {
    let rows = columns.first().map_or(0, Vec::len);
    (0..rows).flat_map(|row| columns.iter().map(move |c| c[row] as f32)).collect()
}

/// `rank` random orthonormal directions orthogonal to the `occupied` ones; fewer if none are left.
pub fn fresh_directions(
    inputs: usize,
    rank: usize,
    occupied: &Columns,
    rng: &mut ChaCha8Rng,
) -> Columns {
    let mut found = Columns::new();
    for _ in 0..rank {
        let draw = |_| {
            let candidate = StandardNormal.sample_iter(&mut *rng).take(inputs).collect();
            orthogonalize(candidate, occupied, &found, FRESH_TOLERANCE)
        };
        match (0..REDRAWS).find_map(draw) {
            Some(direction) => found.push(direction),
            None => break,
        }
    }
    found
}

/// `rank` random columns as LoRA starts with them: U(±1/√m), kaiming's for a linear layer.
pub fn kaiming_uniform(inputs: usize, rank: usize, rng: &mut ChaCha8Rng) -> Columns {
    let bound = 1.0 / (inputs as f64).sqrt();
    let column = |_| (0..inputs).map(|_| rng.random_range(-bound..bound)).collect();
    (0..rank).map(column).collect()
}

/// The orthonormal directions in which vectors with this Gram matrix Σ x xᵀ `[m, m]` are largest,
/// `count` at most and the largest first.
pub fn main_directions(gram: DMatrix<f64>, count: usize) -> Columns {
    let SymmetricEigen { eigenvectors, eigenvalues } = gram.symmetric_eigen();
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    let least = order.first().map_or(0.0, |first| GRAM_TOLERANCE * eigenvalues[*first]);
    let large = order.into_iter().take(count).filter(|i| eigenvalues[*i] > least);
    large.map(|i| eigenvectors.column(i).iter().copied().collect()).collect()
}

/// B = Q R with orthonormal Q orthogonal to the `occupied` directions.
///
/// Q has no columns for what is round-off in f32; R is `[columns of Q][columns of B]`. Then
/// `A Bᵀ = (A Rᵀ) Qᵀ`: the same ΔW in another gauge (docs/math.md, after a concept).
pub fn orthonormal_gauge(down: Columns, occupied: &Columns) -> (Columns, Vec<Vec<f64>>) {
    let mut basis = Columns::new();
    let mut coefficients: Vec<Vec<f64>> = Vec::new();
    for (number, column) in down.iter().enumerate() {
        let direction = orthogonalize(column.clone(), occupied, &basis, GAUGE_TOLERANCE);
        if let Some(direction) = direction {
            // The columns before this one do not contain the new direction.
            let mut row = vec![0.0; number];
            row.extend(down[number..].iter().map(|later| dot(later, &direction)));
            basis.push(direction);
            coefficients.push(row);
        }
    }
    (basis, coefficients)
}

/// The unit vector of what of `candidate` is outside both spans; `None` if no more than this share of it
/// is.
fn orthogonalize(
    candidate: Vec<f64>,
    occupied: &Columns,
    found: &Columns,
    least: f64,
) -> Option<Vec<f64>> {
    let before = norm(&candidate);
    let mut rest = candidate;
    // Twice is enough: the second pass removes the first one's round-off.
    for _ in 0..2 {
        for direction in occupied.iter().chain(found) {
            let inside = dot(&rest, direction);
            rest.iter_mut().zip(direction).for_each(|(x, d)| *x -= inside * d);
        }
    }
    let after = norm(&rest);
    (after > least * before).then(|| rest.into_iter().map(|x| x / after).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::greatest;
    use crate::rng::Seed;

    fn largest_overlap(a: &Columns, b: &Columns) -> f64 {
        greatest(a.iter().flat_map(|x| b.iter().map(move |y| dot(x, y).abs())))
    }

    /// m = 8, r = 3 gives ranks 3, 3, 2, 0 and never a NaN.
    #[test]
    fn directions_run_out_without_round_off_ones() {
        let mut occupied = Columns::new();
        let ranks: Vec<usize> = (0..4)
            .map(|concept| {
                let new = fresh_directions(8, 3, &occupied, &mut Seed::new(0).at(concept));
                assert!(largest_overlap(&new, &occupied) < 1e-12);
                occupied.extend(new.clone());
                new.len()
            })
            .collect();
        assert_eq!(ranks, [3, 3, 2, 0]);
    }

    /// 9 along (3, 4) / 5, 4 along (−4, 3) / 5, nothing along the third.
    #[test]
    fn main_directions_come_largest_first_without_round_off() {
        let (x, y) = ([1.8, 2.4, 0.0], [-1.6, 1.2, 0.0]);
        let gram = DMatrix::from_fn(3, 3, |i, j| x[i] * x[j] + y[i] * y[j]);
        let found = main_directions(gram, 3);
        let along = |found: &[f64], x: &[f64; 3]| dot(found, x).abs() / norm(x);
        assert_eq!(found.len(), 2);
        assert!((along(&found[0], &x) - 1.0).abs() < 1e-12, "{found:?}");
        assert!((along(&found[1], &y) - 1.0).abs() < 1e-12, "{found:?}");
    }

    /// 1e-5 of the second column is not along the first.
    #[test]
    fn the_gauge_keeps_columns_that_nearly_depend_on_others() {
        let b = vec![vec![1.0, 0.0, 0.0], vec![1.0, 1e-5, 0.0], vec![2.0, 2e-8, 0.0]];
        let (q, r) = orthonormal_gauge(b, &Columns::new());
        assert_eq!(q.len(), 2);
        assert!((r[1][1] - 1e-5).abs() < 1e-15 && (q[1][1] - 1.0).abs() < 1e-12, "{q:?} {r:?}");
    }

    #[test]
    fn the_gauge_keeps_the_product_and_drops_dependent_columns() {
        let b = vec![vec![3.0, 0.0, 4.0], vec![6.0, 0.0, 8.0], vec![0.0, 2.0, 0.0]];
        let (q, r) = orthonormal_gauge(b.clone(), &Columns::new());
        assert_eq!(q.len(), 2);
        for (column, original) in b.iter().enumerate() {
            for row in 0..3 {
                let product: f64 = q.iter().zip(&r).map(|(q, r)| q[row] * r[column]).sum();
                assert!((product - original[row]).abs() < 1e-12);
            }
        }
    }
}
