//! How much concepts overlap.

use super::Bank;
use crate::error::Result;

/// Largest |entry| of B_jᵀ B_i with unit columns over all sites and pairs j ≠ i.
///
/// # Errors
/// If an adapter cannot be read.
pub fn max_overlap(bank: &Bank) -> Result<f64> {
    let mut earlier: Vec<Vec<Vec<f64>>> = vec![Vec::new(); bank.sites().len()];
    let mut largest = 0f64;
    for id in bank.concepts() {
        for (site, factors) in bank.adapter(id)?.sites.iter().enumerate() {
            let Some(factors) = factors else { continue };
            let columns: Vec<_> = factors.down_columns().into_iter().map(unit).collect();
            for (old, new) in earlier[site].iter().flat_map(|o| columns.iter().map(move |n| (o, n)))
            {
                let overlap: f64 = old.iter().zip(new).map(|(a, b)| a * b).sum();
                largest = largest.max(overlap.abs());
            }
            earlier[site].extend(columns);
        }
    }
    Ok(largest)
}

fn unit(column: Vec<f64>) -> Vec<f64> {
    let norm = column.iter().map(|x| x * x).sum::<f64>().sqrt();
    column.into_iter().map(|x| x / norm).collect()
}
