//! Distances between the outputs of different concepts, for LoRACLR's margin.
//!
//! They compare inputs of one concept with those of another, row by row, which no Gram matrix holds. But a
//! distance over some of the rows is a lower bound of that over all, and that is enough while it is above
//! the margin: distances run over 10⁴ to 10⁸ numbers, and the margin is 0.5.

use nalgebra::DMatrix;

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
        let change = match member.factors {
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
        let nearest = |i| self.nearest(i, &self.members[i].base).map_or(f64::INFINITY, |n| n.1);
        (0..self.members.len()).map(nearest).fold(f64::INFINITY, f64::min)
    }

    /// The other member whose outputs are nearest to these of member `i`, and the distance.
    fn nearest(&self, i: usize, outputs: &DMatrix<f64>) -> Option<(usize, f64)> {
        let others = self.members.iter().enumerate().filter(|(j, _)| *j != i);
        let distance = |(j, other): (usize, &Rows)| {
            let rows = outputs.nrows().min(other.own.nrows());
            let square = (outputs.rows(0, rows) - other.own.rows(0, rows)).norm_squared();
            (j, square.max(LEAST_SQUARE).sqrt())
        };
        others.map(distance).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// What the margin adds to the loss at Δ `[n, m]`; `None` if that takes rows that were not kept.
    pub fn hinge(&self, delta: &DMatrix<f64>, margin: f64) -> Option<Hinge> {
        let mut hinge =
            Hinge { value: 0.0, gradient: DMatrix::zeros(delta.nrows(), delta.ncols()) };
        for (i, Rows { inputs, base, .. }) in self.members.iter().enumerate() {
            let outputs = base + inputs * delta.transpose();
            let Some((j, distance)) = self.nearest(i, &outputs).filter(|n| n.1 < margin) else {
                continue;
            };
            if self.partial {
                return None;
            }
            let short = margin - distance;
            hinge.value += short * short;
            // The clamp has no slope.
            if distance * distance > LEAST_SQUARE {
                let apart = (outputs - &self.members[j].own) * (-2.0 * short / distance);
                hinge.gradient.gemm_tr(1.0, &apart, inputs, 1.0);
            }
        }
        Some(hinge)
    }
}
