//! Columns of the one random orthonormal basis of R^m that all concepts of a family share.

use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::directions::Columns;
use crate::rng::Seed;

/// What the basis is drawn for. The numbers of every adapter in it depend on this name.
const PURPOSE: &str = "shared basis";

/// Columns that are made together: each of them takes the same normal numbers.
const AT_ONCE: usize = 32;

/// The columns with these numbers of O_m `[m, m]`, m = `inputs`. O_m depends on nothing but m and the family,
/// and its distribution is Haar's.
///
/// ```text
/// O = H_0 H_1 … H_{m−1} D        H_k: the Householder reflection of x_k ~ N(0, I_{m−k}), on the last
///                                m − k coordinates; D: the signs with which O R has a positive diagonal
/// ```
///
/// This is the Q of the QR decomposition of a Gaussian matrix (Stewart, SIAM J. Numer. Anal. 17, 1980),
/// without the matrix: column j takes no more than H_0 … H_j, and each x_k is drawn by its number. It costs
/// m² / 2 normal numbers and about 2 m² multiplications per column, that is 10 to 20 ms for four columns at
/// m = 1280, and memory for the columns alone.
///
/// # Panics
/// If a number is not below `inputs`.
pub fn shared_basis(family: u64, inputs: usize, numbers: &[usize]) -> Columns {
    assert!(numbers.iter().all(|number| *number < inputs), "{numbers:?} of {inputs} columns");
    let seed = Seed::new(family).fork(PURPOSE).fork(&inputs.to_string());
    numbers.par_chunks(AT_ONCE).flat_map_iter(|numbers| columns(&seed, inputs, numbers)).collect()
}

fn columns(seed: &Seed, inputs: usize, numbers: &[usize]) -> Columns {
    let mut columns = vec![vec![0.0; inputs]; numbers.len()];
    let Some(last) = numbers.iter().max() else { return columns };
    for k in (0..=*last).rev() {
        let mut rng = seed.at(k as u64);
        let mut normal: Vec<f64> = StandardNormal.sample_iter(&mut rng).take(inputs - k).collect();
        let length = normal.iter().map(|x| x * x).sum::<f64>().sqrt();
        // The sign that adds no two numbers of opposite sign.
        let sign = normal[0].signum();
        normal[0] += sign * length;
        let scale = 1.0 / (length * normal[0].abs());
        for (column, number) in columns.iter_mut().zip(numbers) {
            if *number == k {
                column[k] = -sign;
            }
            if *number >= k {
                reflect(&mut column[k..], &normal, scale);
            }
        }
    }
    columns
}

/// `x ← x − scale ⟨normal, x⟩ normal`
fn reflect(x: &mut [f64], normal: &[f64], scale: f64) {
    let along = scale * normal.iter().zip(&*x).map(|(n, x)| n * x).sum::<f64>();
    x.iter_mut().zip(normal).for_each(|(x, n)| *x -= along * n);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn all(inputs: usize) -> Columns {
        shared_basis(0, inputs, &(0..inputs).collect::<Vec<_>>())
    }

    #[test]
    fn columns_are_orthonormal() {
        let some: Vec<usize> = (0..1280).step_by(41).chain([1279]).collect();
        for columns in [all(1), all(2), all(97), shared_basis(0, 1280, &some)] {
            for (i, a) in columns.iter().enumerate() {
                for (j, b) in columns.iter().enumerate() {
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((dot(a, b) - expected).abs() < 1e-12, "{i} {j}");
                }
            }
        }
    }

    /// A column is the same whichever others are asked for.
    #[test]
    fn a_column_depends_on_its_number_alone() {
        let all = all(40);
        assert_eq!(
            shared_basis(0, 40, &[39, 0, 17]),
            [39, 0, 17].map(|number| all[number].clone())
        );
        assert_ne!(all[0][..39], shared_basis(0, 39, &[0])[0][..]);
        assert_ne!(all[..1], shared_basis(1, 40, &[0]));
    }

    /// The first column is the direction of a Gaussian vector.
    #[test]
    fn the_first_column_is_a_normalised_draw() {
        let seed = Seed::new(0).fork(PURPOSE).fork("12");
        let x: Vec<f64> = StandardNormal.sample_iter(&mut seed.at(0)).take(12).collect();
        let length = dot(&x, &x).sqrt();
        for (column, x) in shared_basis(0, 12, &[0])[0].iter().zip(x) {
            assert!((column - x / length).abs() < 1e-15);
        }
    }

    /// Of Haar's distribution E o⁴ = 3 / (m (m + 2)); the mean of m² entries has a standard deviation of
    /// about √96 / (3 m) of it.
    #[test]
    fn entries_have_the_moments_of_haars_distribution() {
        let m = 128.0;
        let columns = all(128);
        let entries = || columns.iter().flatten();
        let fourth = entries().map(|x| x.powi(4)).sum::<f64>() / 3.0 * (m + 2.0) / m;
        assert!((fourth - 1.0).abs() < 3.0 * 96f64.sqrt() / (3.0 * m), "{fourth}");
        // Each column begins with no preferred sign, the last one included.
        let trace: f64 = columns.iter().enumerate().map(|(i, column)| column[i]).sum();
        assert!(trace.abs() < 4.0, "its standard deviation is 1: {trace}");
        assert!((entries().sum::<f64>() / m).abs() < 4.0);
    }
}
