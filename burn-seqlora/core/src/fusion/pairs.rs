//! Distances between the outputs of different concepts, for LoRACLR's margin.
//!
//! They compare inputs of one concept with those of another, row by row, which no Gram matrix holds. But a
//! distance over some of the rows is a lower bound of that over all, and that is enough while it is above
//! the margin: distances run over 10⁴ to 10⁸ numbers, and the margin is 0.5. Those at Δ = 0 are computed once;
//! afterwards a pair can only matter if it was nearer then than the margin and what the outputs have moved by.

use std::sync::OnceLock;

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::contract::LayerMember;
use crate::error::{Error, Result};
use crate::lora::Site;

/// Kept rows take no more than so many bytes of a layer, however many concepts there are: fewer of each.
const MOST_BYTES: usize = 256 << 20;

/// The smallest square of a distance, as in the released code.
const LEAST_SQUARE: f64 = 1e-12;

/// Some rows of each member, with their outputs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    members: Vec<Rows>,
    /// Whether some member has rows that are not kept.
    partial: bool,
    /// d_ij with Δ = 0 over kept rows, once all members are there.
    at_zero: OnceLock<Vec<Vec<f64>>>,
}

/// Kept rows of one member.
#[derive(Debug)]
struct Rows {
    /// X `[rows, m]`
    inputs: DMatrix<f64>,
    /// X W₀ᵀ `[rows, n]`
    base: DMatrix<f64>,
    /// V = X (W₀ + λ ΔW)ᵀ `[rows, n]`
    own: DMatrix<f64>,
}

/// Σ_i max(0, margin − min_{j≠i} d_ij)².
#[derive(Debug)]
pub(super) struct Hinge {
    /// The sum.
    pub value: f64,
    /// Its gradient in Δ `[n, m]`.
    pub gradient: DMatrix<f64>,
}

impl Pairs {
    /// The bytes that the rows of so many members take at most.
    pub fn memory(site: &Site, members: usize) -> usize {
        let row = size_of::<f64>() * (site.inputs + 2 * site.outputs);
        // One row of each at least, and the outputs of one member that are being compared.
        MOST_BYTES.max(members * row) + MOST_BYTES
    }

    /// Adds a member's kept rows; `weight` is W₀.
    ///
    /// # Errors
    /// If its statistics hold none.
    pub fn push(&mut self, member: &LayerMember, site: &Site, weight: &DMatrix<f64>) -> Result<()> {
        let gram = member.gram();
        let inputs = gram.kept_matrix();
        if inputs.nrows() == 0 {
            let reason = format!(
                "the statistics of `{}` for <{}> hold no inputs; record them with inputs",
                site.name, member.id
            );
            return Err(Error::Invalid(reason));
        }
        let complete = inputs.nrows() == gram.rows;
        let change = match &member.factors {
            Some(factors) => {
                let (up, down) = factors.to_matrices();
                (&inputs * down) * up.transpose() * member.scale
            }
            None => DMatrix::zeros(inputs.nrows(), site.outputs),
        };
        self.push_rows(inputs, weight, change, complete);
        Ok(())
    }

    /// Adds rows `[rows, m]` of a member with this ΔW.
    #[cfg(test)]
    pub fn push_matrices(
        &mut self,
        inputs: DMatrix<f64>,
        weight: &DMatrix<f64>,
        delta: &DMatrix<f64>,
        complete: bool,
    ) {
        let change = &inputs * delta.transpose();
        self.push_rows(inputs, weight, change, complete);
    }

    /// `change` is X (λ ΔW)ᵀ.
    fn push_rows(
        &mut self,
        inputs: DMatrix<f64>,
        weight: &DMatrix<f64>,
        change: DMatrix<f64>,
        complete: bool,
    ) {
        let base = &inputs * weight.transpose();
        let own = &base + change;
        self.partial |= !complete;
        self.members.push(Rows { inputs, base, own });
        while self.bytes() > MOST_BYTES && self.members.iter().any(|m| m.inputs.nrows() > 1) {
            self.partial = true;
            for Rows { inputs, base, own } in &mut self.members {
                let half = (inputs.nrows() / 2).max(1);
                for matrix in [inputs, base, own] {
                    *matrix = matrix.rows(0, half).into_owned();
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        let numbers = |rows: &Rows| rows.inputs.len() + rows.base.len() + rows.own.len();
        size_of::<f64>() * self.members.iter().map(numbers).sum::<usize>()
    }

    /// A lower bound of all d_ij with Δ = 0; infinite without two members.
    pub fn nearest_at_zero(&self) -> f64 {
        let pairs = self.at_zero().iter().enumerate();
        let others =
            pairs.flat_map(|(i, row)| row.iter().enumerate().filter(move |(j, _)| *j != i));
        others.map(|(_, distance)| *distance).fold(f64::INFINITY, f64::min)
    }

    fn at_zero(&self) -> &[Vec<f64>] {
        self.at_zero.get_or_init(|| {
            let to_all = |i: &Rows| -> Vec<f64> {
                self.members.iter().map(|j| distance(&i.base, &j.own)).collect()
            };
            self.members.par_iter().map(to_all).collect()
        })
    }

    /// The other member whose outputs are nearest to these of member `i`, and the distance, if it is below the
    /// margin. `moved` is how far the outputs are from those with Δ = 0.
    fn nearest(
        &self,
        i: usize,
        outputs: &DMatrix<f64>,
        moved: f64,
        margin: f64,
    ) -> Option<(usize, f64)> {
        let at_zero = self.at_zero()[i].iter().enumerate();
        // More than round-off of the triangle inequality.
        let reach = margin + moved * (1.0 + 1e-9);
        let near = at_zero.filter(|(j, distance)| *j != i && **distance <= reach);
        let now = near.map(|(j, _)| (j, distance(outputs, &self.members[j].own)));
        now.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|nearest| nearest.1 < margin)
    }

    /// What the margin adds to the loss at Δ `[n, m]`; `None` if that takes rows that were not kept.
    pub fn hinge(&self, delta: &DMatrix<f64>, margin: f64) -> Option<Hinge> {
        let transposed = delta.transpose();
        // One term after the other is added below, so that the sum is the same for any number of threads.
        let nearest: Vec<_> = (self.members.par_iter().enumerate())
            .filter_map(|(i, Rows { inputs, base, .. })| {
                let moved = inputs * &transposed;
                let outputs = base + &moved;
                let (j, distance) = self.nearest(i, &outputs, moved.norm(), margin)?;
                Some((i, j, distance, outputs))
            })
            .collect();
        if self.partial && !nearest.is_empty() {
            return None;
        }
        let mut hinge =
            Hinge { value: 0.0, gradient: DMatrix::zeros(delta.nrows(), delta.ncols()) };
        for (i, j, distance, outputs) in nearest {
            let short = margin - distance;
            hinge.value += short * short;
            // The clamp has no slope.
            if distance * distance > LEAST_SQUARE {
                let apart = (outputs - &self.members[j].own) * (-2.0 * short / distance);
                hinge.gradient.gemm_tr(1.0, &apart, &self.members[i].inputs, 1.0);
            }
        }
        Some(hinge)
    }
}

/// The distance over the rows that both have.
fn distance(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let square = match a.nrows() == b.nrows() {
        true => square_distance(a.as_slice(), b.as_slice()),
        false => {
            let rows = a.nrows().min(b.nrows());
            (a.rows(0, rows) - b.rows(0, rows)).norm_squared()
        }
    };
    square.max(LEAST_SQUARE).sqrt()
}

/// Σ (a − b)², in as many sums as a CPU adds at once: one after the other they would wait for each other.
fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f64 = rest.map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f64>() + rest
}
