//! Activation statistics: Gram matrices of the layers' inputs, summed while a model runs.

use seqlora_kernels::matmul::{MatMul, Times};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Tensor, backend::Backend};
use nalgebra::DMatrix;

use super::Site;
use crate::error::{Error, Result};
use crate::read;

/// Sums Σ x xᵀ over the inputs x of some sites. The inputs themselves are not stored: a site takes m²
/// numbers, however long the model runs.
///
/// It is for inference. The sums stay on the device in f32, so that recording does not wait for the
/// device. Their rounding error is about 1e-7 of the largest eigenvalue.
#[derive(Debug)]
pub struct ActivationProbe<B: Backend> {
    /// By the number of the site; `None` for sites that are not recorded.
    sums: Mutex<Vec<Option<Sum<B>>>>,
    /// The length of a sequence, and the positions in it that count; `None` for all rows.
    positions: Option<(usize, Vec<usize>)>,
    /// How many of the last inputs are kept.
    kept: usize,
}

#[derive(Debug)]
struct Sum<B: Backend> {
    rows: usize,
    /// `None` before the first row.
    gram: Option<Tensor<B, 2>>,
    /// The last inputs `[kept, m]`.
    kept: Option<Tensor<B, 2>>,
}

/// G = Σ x xᵀ over a layer's inputs x.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    /// The number of inputs that were summed.
    pub rows: usize,
    /// m
    pub inputs: usize,
    /// G `[m, m]`; symmetric, so row by row is column by column. Empty if all inputs were kept, which are G without its
    /// round-off.
    pub values: Vec<f32>,
    /// The last inputs, row by row, as many as the probe was asked to keep; empty if it was not.
    pub kept: Vec<f32>,
}

/// The Gram matrices of one concept's inputs, by the name of the site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivationStatistics(pub BTreeMap<String, Gram>);

impl<B: MatMul> ActivationProbe<B> {
    /// A probe of those sites of a model for which `wanted` is true.
    pub fn new(sites: &[Site], wanted: impl Fn(&Site) -> bool) -> Self {
        let sum = |site| wanted(site).then(|| Sum { rows: 0, gram: None, kept: None });
        let sums = Mutex::new(sites.iter().map(sum).collect());
        Self { sums, positions: None, kept: 0 }
    }

    /// Of inputs that are sequences of `length` rows each, only the rows at these positions count.
    pub fn at_positions(self, length: usize, positions: Vec<usize>) -> Self {
        Self { positions: Some((length, positions)), ..self }
    }

    /// With the last `rows` inputs of each site besides the sums.
    pub fn keeping(self, rows: usize) -> Self {
        Self { kept: rows, ..self }
    }

    /// Adds the inputs `[rows, m]` of a site, if the site is recorded.
    ///
    /// # Panics
    /// If only some positions count, and the rows are no whole sequences.
    pub fn record(&self, site: usize, inputs: &Tensor<B, 2>) {
        if let Some(Some(sum)) = self.sums().get_mut(site) {
            let x = self.counted(inputs.clone()).cast(DType::F32);
            let product = x.clone().transpose().times(x.clone());
            let total = match &sum.gram {
                Some(gram) => gram.clone() + product,
                None => product,
            };
            let rows = sum.rows + x.dims()[0];
            let kept = (self.kept > 0).then(|| self.last(sum.kept.clone(), x));
            *sum = Sum { rows, gram: Some(total), kept };
        }
    }

    /// Whether every site that is recorded has seen inputs.
    pub fn is_complete(&self) -> bool {
        self.sums().iter().flatten().all(|sum| sum.gram.is_some())
    }

    /// The rows at the positions that count.
    fn counted(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        let Some((length, positions)) = &self.positions else { return inputs };
        let rows = inputs.dims()[0];
        assert!(rows.is_multiple_of(*length), "{rows} rows in sequences of {length}");
        let starts = (0..rows).step_by(*length);
        let numbers: Vec<i32> =
            starts.flat_map(|start| positions.iter().map(move |p| (start + p) as i32)).collect();
        let numbers = Tensor::from_data(numbers.as_slice(), &inputs.device());
        inputs.select(0, numbers)
    }

    /// The last rows of both.
    fn last(&self, before: Option<Tensor<B, 2>>, new: Tensor<B, 2>) -> Tensor<B, 2> {
        let all = match before {
            Some(before) if new.dims()[0] < self.kept => Tensor::cat(vec![before, new], 0),
            _ => new,
        };
        let (rows, kept) = (all.dims()[0], all.dims()[0].min(self.kept));
        all.narrow(0, rows - kept, kept)
    }

    /// The sums up to now; `sites` are the model's. A site has no entry if the model did not run it.
    ///
    /// # Errors
    /// If an input was not finite.
    pub fn statistics(&self, sites: &[Site]) -> Result<ActivationStatistics> {
        let sums = self.sums();
        let recorded = sites.iter().zip(sums.iter()).filter_map(|(site, sum)| {
            let Sum { rows, gram, kept } = sum.as_ref()?;
            Some((site, *rows, gram.as_ref()?, kept.as_ref()))
        });
        type Recorded<'a, B> = (&'a Site, usize, &'a Tensor<B, 2>, Option<&'a Tensor<B, 2>>);
        let read = |(site, rows, gram, kept): Recorded<B>| {
            let numbers = |matrix: &Tensor<B, 2>| -> Vec<f32> {
                read::data(matrix.clone()).iter::<f32>().collect()
            };
            let kept = kept.map(numbers).unwrap_or_default();
            let all_kept = kept.len() == rows * site.inputs;
            let values = if all_kept { Vec::new() } else { numbers(gram) };
            match values.iter().chain(&kept).all(|x| x.is_finite()) {
                true => Ok((site.name.clone(), Gram { rows, inputs: site.inputs, values, kept })),
                false => {
                    Err(Error::Invalid(format!("the inputs of `{}` are not finite", site.name)))
                }
            }
        };
        Ok(ActivationStatistics(recorded.map(read).collect::<Result<_>>()?))
    }

    /// A sum is valid after a panic too: its two fields change after all arithmetic has succeeded.
    fn sums(&self) -> MutexGuard<'_, Vec<Option<Sum<B>>>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gram {
    /// Whether all inputs were kept.
    pub fn is_exact(&self) -> bool {
        self.kept.len() == self.rows * self.inputs
    }

    /// G in f64: exact if all inputs were kept.
    pub fn to_matrix(&self) -> DMatrix<f64> {
        if self.is_exact() {
            let inputs = self.kept_matrix();
            return inputs.tr_mul(&inputs);
        }
        let values = self.values.iter().map(|x| f64::from(*x));
        DMatrix::from_iterator(self.inputs, self.inputs, values)
    }

    /// The kept inputs `[rows, m]` in f64.
    pub fn kept_matrix(&self) -> DMatrix<f64> {
        let values = self.kept.iter().map(|x| f64::from(*x));
        DMatrix::from_row_iterator(self.kept.len() / self.inputs.max(1), self.inputs, values)
    }
}

impl ActivationStatistics {
    /// Adds what was recorded in another run of the same model; all kept inputs of both are kept.
    ///
    /// # Panics
    /// If a site's inputs have another size.
    pub fn add(&mut self, other: Self) {
        for (site, gram) in other.0 {
            match self.0.entry(site) {
                Entry::Vacant(entry) => drop(entry.insert(gram)),
                Entry::Occupied(mut entry) => {
                    let sum = entry.get_mut();
                    assert_eq!(sum.inputs, gram.inputs, "inputs of one site");
                    // Of one whose inputs were all kept, G is needed if the other's were not.
                    if !(sum.is_exact() && gram.is_exact()) {
                        let both = sum.to_matrix() + gram.to_matrix();
                        sum.values = both.iter().map(|x| *x as f32).collect();
                    }
                    sum.rows += gram.rows;
                    sum.kept.extend(gram.kept);
                }
            }
        }
    }
}
