//! How far two subspaces of a layer's inputs overlap.

use nalgebra::DMatrix;

/// Directions with a smaller share of the largest singular value of B are rounding of its f32 numbers.
const RANK_TOLERANCE: f64 = 1e-6;

/// span(B_i) and span(B_j) in R^m, whatever bases the B are.
#[derive(Debug, Clone, PartialEq)]
pub struct SubspaceOverlap {
    /// ‖Q_iᵀ Q_j‖_F² with orthonormal bases Q: the number of directions in common, 0 to min(r_i, r_j).
    pub energy: f64,
    /// The same as a multiple of its mean for random subspaces, r_i r_j / m.
    pub relative_to_random: f64,
    /// The principal angles in radians, the smallest first: 0 for a direction in common, π/2 for none.
    /// They come from cosines, so that angles below about 1e-7 are rounding.
    pub angles: Vec<f64>,
}

impl SubspaceOverlap {
    /// Of orthonormal bases `[m, r]`; `None` if one has no column.
    pub fn of(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Option<Self> {
        if a.ncols() == 0 || b.ncols() == 0 {
            return None;
        }
        let product = a.transpose() * b;
        let energy = product.norm_squared();
        let expected = (a.ncols() * b.ncols()) as f64 / a.nrows() as f64;
        let cosines = product.svd(false, false).singular_values;
        let mut angles: Vec<f64> = cosines.iter().map(|cos| cos.clamp(0.0, 1.0).acos()).collect();
        angles.sort_by(f64::total_cmp);
        Some(Self { energy, relative_to_random: energy / expected, angles })
    }
}

/// An orthonormal basis `[m, r]` of the span of the columns of B; columns that depend on others give none.
pub fn orthonormal_basis(b: &DMatrix<f64>) -> DMatrix<f64> {
    let svd = b.clone().svd(true, false);
    let u = svd.u.expect("it was asked for");
    let largest = svd.singular_values.max();
    let kept = (0..svd.singular_values.len())
        .filter(|i| svd.singular_values[*i] > RANK_TOLERANCE * largest)
        .collect::<Vec<_>>();
    u.select_columns(&kept)
}

#[cfg(test)]
pub(super) mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::rng::Seed;

    /// Independent normal numbers.
    pub fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut rng = Seed::new(seed).at(0);
        DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
    }

    fn overlap(a: &DMatrix<f64>, b: &DMatrix<f64>) -> SubspaceOverlap {
        SubspaceOverlap::of(&orthonormal_basis(a), &orthonormal_basis(b)).unwrap()
    }

    /// The second subspace is the first, turned by known angles into directions outside of it. Neither is
    /// given by an orthonormal basis.
    #[test]
    fn a_planted_overlap_is_found_with_its_angles() {
        let q = orthonormal_basis(&normal(20, 6, 1));
        let planted: [f64; 3] = [0.3, 1.1, 0.02];
        let mut turned = DMatrix::zeros(20, 3);
        for (i, angle) in planted.iter().enumerate() {
            turned.set_column(i, &(q.column(i) * angle.cos() + q.column(3 + i) * angle.sin()));
        }
        let mix = normal(3, 3, 2);
        let found = overlap(&(q.columns(0, 3) * &mix), &(turned * normal(3, 3, 3)));
        for (found, planted) in found.angles.iter().zip([0.02, 0.3, 1.1]) {
            assert!((found - planted).abs() < 1e-10, "{found} {planted}");
        }
        let energy: f64 = planted.iter().map(|angle| angle.cos().powi(2)).sum();
        assert!((found.energy - energy).abs() < 1e-12);
        assert!((found.relative_to_random - energy * 20.0 / 9.0).abs() < 1e-11);
    }

    #[test]
    fn orthogonal_subspaces_do_not_overlap_and_equal_ones_do() {
        let q = orthonormal_basis(&normal(12, 7, 4));
        let (a, b) = (q.columns(0, 4).into_owned(), q.columns(4, 3).into_owned());
        let none = overlap(&a, &b);
        assert!(none.energy < 1e-28, "{none:?}");
        assert!(none.angles.iter().all(|x| (x - std::f64::consts::FRAC_PI_2).abs() < 1e-14));
        let same = overlap(&a, &(&a * normal(4, 4, 5)));
        assert!((same.energy - 4.0).abs() < 1e-12 && same.angles[3] < 1e-7, "{same:?}");
    }

    /// E ‖Q_iᵀ Q_j‖² = r_i r_j / m: a mean of one, within three standard errors.
    #[test]
    fn random_subspaces_are_the_unit() {
        let (m, pairs) = (48, 400);
        let ratio = |pair: u64| {
            overlap(&normal(m, 4, 2 * pair), &normal(m, 3, 2 * pair + 1)).relative_to_random
        };
        let ratios: Vec<f64> = (0..pairs).map(ratio).collect();
        let count = pairs as f64;
        let mean = ratios.iter().sum::<f64>() / count;
        let variance = ratios.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let error = (variance / count).sqrt();
        assert!((mean - 1.0).abs() < 3.0 * error && error < 0.05, "{mean} ± {error}");
    }

    #[test]
    fn columns_that_depend_on_others_are_no_directions() {
        let mut b = normal(9, 3, 6);
        let sum = b.column(0) + b.column(1);
        b.set_column(2, &sum);
        assert_eq!(orthonormal_basis(&b).ncols(), 2);
        assert_eq!(orthonormal_basis(&DMatrix::zeros(9, 2)).ncols(), 0);
        assert!(SubspaceOverlap::of(&DMatrix::zeros(9, 0), &b).is_none());
    }
}
