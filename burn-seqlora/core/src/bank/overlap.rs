//! How far concepts are from orthogonal: their mutual coherence.
//!
//! The mutual coherence of two concepts is the largest |entry| of B_jᵀ B_i with unit columns, over all
//! sites: 0 if they are orthogonal everywhere, 1 if they share a direction.

use nalgebra::DMatrix;

use super::Bank;
use crate::error::Result;

/// The mutual coherence of every pair of concepts, in their order; 0 on the diagonal.
///
/// # Errors
/// If an adapter cannot be read.
pub fn overlaps(bank: &Bank) -> Result<Vec<Vec<f64>>> {
    let concepts = bank.concepts().iter().map(|id| unit_columns(bank, id));
    let concepts = concepts.collect::<Result<Vec<_>>>()?;
    let mut overlaps = vec![vec![0.0; concepts.len()]; concepts.len()];
    for (i, new) in concepts.iter().enumerate() {
        for (j, old) in concepts[..i].iter().enumerate() {
            let largest = new
                .iter()
                .zip(old)
                .filter_map(|(new, old)| Some(largest_entry(new.as_ref()?, old.as_ref()?)));
            let largest = largest.fold(0.0, greater);
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
    Ok(overlaps(bank)?.into_iter().flatten().fold(0.0, greater))
}

/// The columns of a concept's B at each site of the bank, with length one.
fn unit_columns(bank: &Bank, id: &str) -> Result<Vec<Option<DMatrix<f64>>>> {
    let adapter = bank.adapter(id)?;
    let of_site = |site: &crate::lora::Site| {
        let factors = adapter.get(&site.name)?;
        let values = factors.down.iter().map(|x| f64::from(*x));
        let mut columns = DMatrix::from_iterator(factors.inputs(), factors.rank, values);
        columns.column_iter_mut().for_each(|mut column| {
            let norm = column.norm();
            column /= norm;
        });
        Some(columns)
    };
    Ok(bank.sites().iter().map(of_site).collect())
}

fn largest_entry(new: &DMatrix<f64>, old: &DMatrix<f64>) -> f64 {
    new.tr_mul(old).iter().map(|x| x.abs()).fold(0.0, greater)
}

/// The greater of two numbers; a NaN stays one, so that a damaged adapter does not pass for orthogonal.
fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
