//! What the layers see: Gram matrices of their inputs, summed while a model runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Tensor, backend::Backend};
use nalgebra::DMatrix;

use super::Site;
use crate::error::{Error, Result};

/// Sums Σ x xᵀ over the inputs x of the sites that it was asked to watch. The inputs themselves are not
/// kept: it takes m² numbers per site, however long the model runs.
///
/// It is for inference. The sums stay on the device in f32, so that watching waits for nothing; their
/// relative error of about 1e-7 of the largest eigenvalue is what smaller eigenvalues are lost in.
#[derive(Debug)]
pub struct ActivationProbe<B: Backend> {
    /// By the number of the site; `None` where nobody asked.
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
    /// Watches the `wanted` ones of a model's sites.
    pub fn new(sites: &[Site], wanted: impl Fn(&Site) -> bool) -> Self {
        let sum = |site| wanted(site).then(|| Sum { rows: 0, gram: None });
        Self { sums: Mutex::new(sites.iter().map(sum).collect()) }
    }

    /// Adds the inputs `[rows, m]` of a site, if somebody asked for them.
    pub fn record(&self, site: usize, inputs: &Tensor<B, 2>) {
        if let Some(Some(sum)) = self.sums().get_mut(site) {
            let x = inputs.clone().cast(DType::F32);
            let product = x.clone().transpose().matmul(x);
            sum.rows += inputs.dims()[0];
            sum.gram = Some(match sum.gram.take() {
                Some(gram) => gram + product,
                None => product,
            });
        }
    }

    /// What was summed up to now; `sites` are the model's. Watched sites that the model did not run are
    /// missing.
    ///
    /// # Errors
    /// If an input was not finite.
    pub fn statistics(&self, sites: &[Site]) -> Result<ActivationStatistics> {
        let sums = self.sums();
        let watched = sites.iter().zip(sums.iter()).filter_map(|(site, sum)| {
            let Sum { rows, gram } = sum.as_ref()?;
            Some((site, *rows, gram.as_ref()?))
        });
        let read = |(site, rows, gram): (&Site, usize, &Tensor<B, 2>)| {
            let values: Vec<f32> = gram.to_data().iter::<f32>().collect();
            match values.iter().all(|x| x.is_finite()) {
                true => Ok((site.name.clone(), Gram { rows, inputs: site.inputs, values })),
                false => {
                    Err(Error::Invalid(format!("the inputs of `{}` are not finite", site.name)))
                }
            }
        };
        Ok(ActivationStatistics(watched.map(read).collect::<Result<_>>()?))
    }

    /// A panic elsewhere leaves no sum half done: both fields are set after the arithmetic.
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
