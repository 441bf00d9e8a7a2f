//! How far concepts are from orthogonal: their mutual coherence.
//!
//! The mutual coherence of two concepts is the largest |entry| of B_jᵀ B_i with unit columns, over all
//! sites: 0 if they are orthogonal everywhere, 1 if they share a direction.
//!
//! Layer by layer, the columns of all concepts are one matrix, whose products with itself are computed in
//! blocks and in parallel. In memory are the columns of one layer: 41 MB for 1000 concepts of rank 4 and
//! 1280 inputs.

use std::ops::Range;

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::Bank;
use super::places::Places;
use crate::check::greatest;
use crate::error::Result;
use crate::lora::Site;

/// Columns of a block: two blocks of 1280 rows and their product take 6 MB.
const BLOCK: usize = 256;

/// The mutual coherence of every pair of concepts, in their order; 0 on the diagonal. NaN where a column
/// of B is zero.
///
/// # Errors
/// If the cache does not hold B of every concept, or not as their adapters do, and one of these cannot be read.
pub fn overlaps(bank: &Bank) -> Result<Vec<Vec<f64>>> {
    let places = match bank.basis_cache().places(&bank.concept_owners(), bank) {
        Some(places) => places,
        None => bank.concepts().iter().map(|id| bank.places(id)).collect::<Result<_>>()?,
    };
    Ok(Overlaps::of(&places, bank.sites())?.pairs)
}

/// The largest of all [`overlaps`]; NaN if one is.
///
/// # Errors
/// As [`overlaps`].
pub fn max_overlap(bank: &Bank) -> Result<f64> {
    Ok(greatest(overlaps(bank)?.into_iter().flatten()))
}

/// How far some concepts are from orthogonal.
#[derive(Debug)]
pub(super) struct Overlaps {
    /// The mutual coherence of every pair; 0 on the diagonal.
    pairs: Vec<Vec<f64>>,
    /// For each site, the pair [i, j] with i > j whose coherence is largest there, and what it is; NaN is
    /// larger than any number. `None` where less than two concepts are adapted.
    pub by_site: Vec<Option<([usize; 2], f64)>>,
}

impl Overlaps {
    /// Those of concepts whose B lies at these places.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn of(concepts: &[Places], sites: &[Site]) -> Result<Self> {
        let mut pairs = vec![vec![0.0; concepts.len()]; concepts.len()];
        let mut by_site = Vec::new();
        for (number, site) in sites.iter().enumerate() {
            let ranks: Vec<usize> = concepts.iter().map(|places| places.rank(number)).collect();
            let blocks: Vec<DMatrix<f64>> = blocks(&ranks)
                .into_par_iter()
                .map(|block| unit_columns(&concepts[block], number, site.inputs))
                .collect::<Result<_>>()?;
            let mut worst: Option<([usize; 2], f64)> = None;
            for (i, j, overlap) in site_overlaps(&blocks, &ranks) {
                pairs[i][j] = greatest([pairs[i][j], overlap]);
                pairs[j][i] = pairs[i][j];
                if worst.is_none_or(|(_, most)| overlap > most || overlap.is_nan()) {
                    worst = Some(([i, j], overlap));
                }
            }
            by_site.push(worst);
        }
        Ok(Self { pairs, by_site })
    }

    /// The mutual coherence of two of them.
    pub fn of_pair(&self, i: usize, j: usize) -> f64 {
        self.pairs[i][j]
    }

    /// The largest of all; NaN if one is.
    pub fn greatest(&self) -> f64 {
        greatest(self.pairs.iter().flatten().copied())
    }
}

/// Runs of concepts with about [`BLOCK`] columns.
fn blocks(ranks: &[usize]) -> Vec<Range<usize>> {
    let (mut blocks, mut start, mut columns) = (Vec::new(), 0, 0);
    for (concept, rank) in ranks.iter().enumerate() {
        if columns > 0 && columns + rank > BLOCK {
            blocks.push(start..concept);
            (start, columns) = (concept, 0);
        }
        columns += rank;
    }
    blocks.push(start..ranks.len());
    blocks
}

/// The columns of B of these concepts at a site, with length one.
fn unit_columns(concepts: &[Places], site: usize, inputs: usize) -> Result<DMatrix<f64>> {
    let columns = concepts.iter().map(|places| places.read(site, inputs));
    let numbers = columns.collect::<Result<Vec<_>>>()?.concat();
    let mut columns = DMatrix::from_vec(inputs, numbers.len() / inputs, numbers);
    columns.column_iter_mut().for_each(|mut column| {
        let norm = column.norm();
        column /= norm;
    });
    Ok(columns)
}

/// The coherence at one site of every pair i > j of concepts that are adapted there.
fn site_overlaps(blocks: &[DMatrix<f64>], ranks: &[usize]) -> Vec<(usize, usize, f64)> {
    let ranges = self::blocks(ranks);
    let pairs: Vec<(usize, usize)> =
        (0..blocks.len()).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
    let of_pair = |(a, b): (usize, usize)| {
        // A product of two matrices is fast; nalgebra's `tr_mul` is a loop of dot products.
        let product = blocks[a].transpose() * &blocks[b];
        let mut found = Vec::new();
        let mut row = 0;
        for i in ranges[a].clone() {
            let mut column = 0;
            for j in ranges[b].clone() {
                if j < i && ranks[i] * ranks[j] > 0 {
                    let entries = product.view((row, column), (ranks[i], ranks[j]));
                    found.push((i, j, greatest(entries.iter().map(|x| x.abs()))));
                }
                column += ranks[j];
            }
            row += ranks[i];
        }
        found
    };
    pairs.into_par_iter().flat_map_iter(of_pair).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rand::RngExt;

    use super::*;
    use crate::lora::{Part, Role};
    use crate::rng::Seed;

    const INPUTS: usize = 20;

    fn sites() -> Vec<Site> {
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        let site = |name: &str| Site { name: name.into(), inputs: INPUTS, outputs: 2, part, role };
        ["a", "b"].map(site).to_vec()
    }

    /// Concepts of random columns in one file, and the columns.
    fn random(ranks: &[[usize; 2]]) -> (tempfile::NamedTempFile, Vec<Places>, Vec<[Vec<f32>; 2]>) {
        let mut rng = Seed::new(3).at(0);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (mut start, mut places, mut all) = (0, Vec::new(), Vec::new());
        for ranks in ranks {
            let mut sites = Vec::new();
            let columns = ranks.map(|rank| {
                sites.push((start, rank));
                start += 4 * (rank * INPUTS) as u64;
                (0..rank * INPUTS).map(|_| rng.random_range(-1f32..1.0)).collect::<Vec<f32>>()
            });
            for x in columns.iter().flatten() {
                file.write_all(&x.to_le_bytes()).unwrap();
            }
            places.push(Places { file: file.path().into(), sites });
            all.push(columns);
        }
        (file, places, all)
    }

    fn by_definition(a: &[Vec<f32>; 2], b: &[Vec<f32>; 2]) -> f64 {
        let dot = |x: &[f32], y: &[f32]| {
            x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        };
        let mut largest: f64 = 0.0;
        for (a, b) in a.iter().zip(b) {
            for x in a.chunks(INPUTS) {
                for y in b.chunks(INPUTS) {
                    largest = largest.max(dot(x, y).abs() / (dot(x, x) * dot(y, y)).sqrt());
                }
            }
        }
        largest
    }

    /// 300 concepts make several blocks; some are not adapted at a site.
    #[test]
    fn blocks_give_what_the_definition_gives() {
        let ranks: Vec<[usize; 2]> = (0..300).map(|i| [i % 4, (i + 1) % 3]).collect();
        let (_file, places, columns) = random(&ranks);
        let overlaps = Overlaps::of(&places, &sites()).unwrap().pairs;
        for (i, row) in overlaps.iter().enumerate() {
            for (j, overlap) in row.iter().enumerate() {
                let expected = if i == j { 0.0 } else { by_definition(&columns[i], &columns[j]) };
                assert!((overlap - expected).abs() < 1e-12, "{i}, {j}");
            }
        }
    }

    #[test]
    fn a_column_of_zeros_is_no_perfect_orthogonality() {
        let (file, places, _) = random(&[[1, 1], [2, 0]]);
        let bytes = vec![0; 4 * INPUTS];
        std::io::Seek::seek(&mut file.as_file(), std::io::SeekFrom::Start(0)).unwrap();
        file.as_file().write_all(&bytes).unwrap();
        let overlaps = Overlaps::of(&places, &sites()).unwrap().pairs;
        assert!(overlaps[1][0].is_nan() && greatest(overlaps.into_iter().flatten()).is_nan());
        assert!(Overlaps::of(&[], &sites()).unwrap().pairs.is_empty());
    }
}
