//! How much concepts overlap.

use super::{Bank, StoredFactors};
use crate::adapter::directions::Columns;
use crate::error::Result;

/// Largest |entry| of B_jᵀ B_i with unit columns over all sites, for every pair of concepts in
/// their order; 0 on the diagonal.
///
/// # Errors
/// If an adapter cannot be read.
pub fn overlaps(bank: &Bank) -> Result<Vec<Vec<f64>>> {
    let concepts = bank.concepts().iter().map(|id| unit_columns(bank, id));
    let concepts = concepts.collect::<Result<Vec<_>>>()?;
    let mut overlaps = vec![vec![0.0; concepts.len()]; concepts.len()];
    for (i, new) in concepts.iter().enumerate() {
        for (j, old) in concepts[..i].iter().enumerate() {
            let largest = new.iter().zip(old).map(|(new, old)| largest_entry(new, old));
            let largest = largest.fold(0.0, f64::max);
            (overlaps[i][j], overlaps[j][i]) = (largest, largest);
        }
    }
    Ok(overlaps)
}

/// The largest of all [`overlaps`].
///
/// # Errors
/// If an adapter cannot be read.
pub fn max_overlap(bank: &Bank) -> Result<f64> {
    Ok(overlaps(bank)?.into_iter().flatten().fold(0.0, f64::max))
}

/// The columns of a concept's B at each site.
fn unit_columns(bank: &Bank, id: &str) -> Result<Vec<Columns>> {
    let of_site = |factors: Option<StoredFactors>| {
        let columns = factors.map(|f| f.down_columns()).unwrap_or_default();
        columns.into_iter().map(unit).collect()
    };
    Ok(bank.adapter(id)?.sites.into_iter().map(of_site).collect())
}

fn largest_entry(new: &Columns, old: &Columns) -> f64 {
    let pairs = new.iter().flat_map(|n| old.iter().map(move |o| (n, o)));
    let entries = pairs.map(|(n, o)| n.iter().zip(o).map(|(a, b)| a * b).sum::<f64>().abs());
    entries.fold(0.0, f64::max)
}

fn unit(column: Vec<f64>) -> Vec<f64> {
    let norm = column.iter().map(|x| x * x).sum::<f64>().sqrt();
    column.into_iter().map(|x| x / norm).collect()
}
