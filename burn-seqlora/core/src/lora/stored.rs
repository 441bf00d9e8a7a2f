//! An adapter as host data, by the names of its sites.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use nalgebra::DMatrix;

use super::directions::{Columns, from_columns, to_columns};
use super::{AdapterSet, Feasible, Site};
use crate::read;

/// The factors at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFactors {
    /// r
    pub rank: usize,
    /// A `[n, r]`, row by row.
    pub up: Vec<f32>,
    /// Bᵀ `[r, m]`, row by row: LoRA's down projection as other tools store it.
    pub down: Vec<f32>,
}

/// A concept's factors by the name of their site; sites that are not adapted are missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredAdapter(pub BTreeMap<String, StoredFactors>);

impl StoredFactors {
    /// m
    pub fn inputs(&self) -> usize {
        self.down.len() / self.rank
    }

    /// n
    pub fn outputs(&self) -> usize {
        self.up.len() / self.rank
    }

    /// Whether A and B have this site's sizes.
    pub fn fits(&self, site: &Site) -> bool {
        self.rank > 0
            && self.up.len() == site.outputs * self.rank
            && self.down.len() == site.inputs * self.rank
    }

    /// The columns of B in f64.
    pub fn down_columns(&self) -> Columns {
        let row = |row: &[f32]| row.iter().map(|x| *x as f64).collect();
        self.down.chunks(self.inputs()).map(row).collect()
    }

    /// The same change with orthonormal B, without what acts on directions that are not feasible; `None` if nothing
    /// is left.
    pub fn in_gauge(&self, feasible: &Feasible) -> Option<Self> {
        in_gauge(&self.up, self.down_columns(), feasible)
    }

    /// A `[n, r]` and B `[m, r]` in f64.
    pub fn to_matrices(&self) -> (DMatrix<f64>, DMatrix<f64>) {
        let numbers = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let up = DMatrix::from_row_slice(self.outputs(), self.rank, &numbers(&self.up));
        // Bᵀ row by row is B column by column.
        (up, DMatrix::from_vec(self.inputs(), self.rank, numbers(&self.down)))
    }

    /// A and B `[m, r]` on a device.
    pub fn to_tensors<B: Backend>(&self, device: &B::Device) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let matrix = |values: &[f32], rows, columns| {
            Tensor::from_data(TensorData::new(values.to_vec(), [rows, columns]), device)
        };
        let down = from_columns(&self.down_columns());
        (matrix(&self.up, self.outputs(), self.rank), matrix(&down, self.inputs(), self.rank))
    }
}

impl StoredAdapter {
    /// The factors at a site, if it is adapted.
    pub fn get(&self, site: &str) -> Option<&StoredFactors> {
        self.0.get(site)
    }

    /// The rank at each of these sites; 0 where it is not adapted.
    pub fn ranks(&self, sites: &[Site]) -> Vec<usize> {
        sites.iter().map(|site| self.get(&site.name).map_or(0, |f| f.rank)).collect()
    }

    /// The first of its sites that is not among the model's, or has another size there.
    pub fn misfit(&self, sites: &[Site]) -> Option<&str> {
        first_misfit(&self.0, sites, StoredFactors::fits)
    }
}

/// The first name that is no site's, or whose entry does not fit the site.
pub(super) fn first_misfit<'a, T>(
    entries: &'a BTreeMap<String, T>,
    sites: &[Site],
    fits: impl Fn(&T, &Site) -> bool,
) -> Option<&'a str> {
    let known: BTreeMap<&str, &Site> = sites.iter().map(|s| (s.name.as_str(), s)).collect();
    let fits = |(name, entry): &(&String, &T)| {
        known.get(name.as_str()).is_some_and(|site| fits(entry, site))
    };
    entries.iter().find(|entry| !fits(entry)).map(|(name, _)| name.as_str())
}

/// A `[n, r]` and the columns of B in the bank's gauge; `None` if nothing is left of B.
fn in_gauge(up: &[f32], down: Columns, feasible: &Feasible) -> Option<StoredFactors> {
    let rank = down.len();
    let (basis, r) = feasible.gauge(down);
    // A Rᵀ
    let row = |a: &[f32]| -> Vec<f32> {
        let product = |r: &Vec<f64>| r.iter().zip(a).map(|(r, a)| r * *a as f64).sum::<f64>();
        r.iter().map(|r| product(r) as f32).collect()
    };
    let up = up.chunks(rank).flat_map(row).collect();
    let down = basis.iter().flatten().map(|x| *x as f32).collect();
    (!basis.is_empty()).then_some(StoredFactors { rank: basis.len(), up, down })
}

/// The trained factors in the bank's gauge: B orthonormal and feasible at each site, A Bᵀ unchanged (docs/math.md, after a concept).
pub fn finish_adapter<B: Backend>(
    set: &AdapterSet<B>,
    sites: &[Site],
    feasible: &[Feasible],
) -> StoredAdapter {
    let site = |(number, site): (usize, &Site)| {
        let (up, down) = (set.up.get(number)?, set.down.get(number)?);
        let [_, rank] = up.dims();
        let values = |t: Tensor<B, 2>| read::data(t).iter::<f32>().collect::<Vec<f32>>();
        let (up, down) = (values(up), to_columns(&values(down), rank));
        Some((site.name.clone(), in_gauge(&up, down, &feasible[number])?))
    };
    StoredAdapter(sites.iter().enumerate().filter_map(site).collect())
}
