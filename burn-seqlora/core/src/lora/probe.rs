//! Activation statistics: Gram matrices of the layers' inputs, summed while a model runs.

use std::collections::BTreeMap;
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
}

#[derive(Debug)]
struct Sum<B: Backend> {
    rows: usize,
    /// `None` before the first row.
    gram: Option<Tensor<B, 2>>,
}

/// G = Σ x xᵀ over a layer's inputs x.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    /// The number of inputs that were summed.
    pub rows: usize,
    /// m
    pub inputs: usize,
    /// G `[m, m]`; symmetric, so row by row is column by column.
    pub values: Vec<f32>,
}

/// The Gram matrices of one concept's inputs, by the name of the site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivationStatistics(pub BTreeMap<String, Gram>);

impl<B: Backend> ActivationProbe<B> {
    /// A probe of those sites of a model for which `wanted` is true.
    pub fn new(sites: &[Site], wanted: impl Fn(&Site) -> bool) -> Self {
        let sum = |site| wanted(site).then(|| Sum { rows: 0, gram: None });
        Self { sums: Mutex::new(sites.iter().map(sum).collect()) }
    }

    /// Adds the inputs `[rows, m]` of a site, if the site is recorded.
    pub fn record(&self, site: usize, inputs: &Tensor<B, 2>) {
        if let Some(Some(sum)) = self.sums().get_mut(site) {
            let x = inputs.clone().cast(DType::F32);
            let product = x.clone().transpose().matmul(x);
            let total = match &sum.gram {
                Some(gram) => gram.clone() + product,
                None => product,
            };
            *sum = Sum { rows: sum.rows + inputs.dims()[0], gram: Some(total) };
        }
    }

    /// The sums up to now; `sites` are the model's. A site has no entry if the model did not run it.
    ///
    /// # Errors
    /// If an input was not finite.
    pub fn statistics(&self, sites: &[Site]) -> Result<ActivationStatistics> {
        let sums = self.sums();
        let recorded = sites.iter().zip(sums.iter()).filter_map(|(site, sum)| {
            let Sum { rows, gram } = sum.as_ref()?;
            Some((site, *rows, gram.as_ref()?))
        });
        let read = |(site, rows, gram): (&Site, usize, &Tensor<B, 2>)| {
            let values: Vec<f32> = read::data(gram.clone()).iter::<f32>().collect();
            match values.iter().all(|x| x.is_finite()) {
                true => Ok((site.name.clone(), Gram { rows, inputs: site.inputs, values })),
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
    /// G in f64.
    pub fn to_matrix(&self) -> DMatrix<f64> {
        let values = self.values.iter().map(|x| f64::from(*x));
        DMatrix::from_iterator(self.inputs, self.inputs, values)
    }
}
