//! One matrix per adapted site, as a vector space.

use burn::tensor::{Tensor, backend::Backend};

/// One matrix per site; `None` where the site is not adapted.
///
/// The factors A of a concept form one such vector, the factors B another, and so do their
/// gradients, directions and optimiser states. Sites are addressed by number.
#[derive(Debug, Clone)]
pub struct Factors<B: Backend>(Vec<Option<Tensor<B, 2>>>);

impl<B: Backend> Factors<B> {
    /// One entry per site, in the order of the sites' numbers.
    pub fn new(matrices: Vec<Option<Tensor<B, 2>>>) -> Self {
        Self(matrices)
    }

    /// No site adapted.
    pub fn empty(sites: usize) -> Self {
        Self(vec![None; sites])
    }

    /// The number of sites, adapted or not.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no site is adapted.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The matrix of one site.
    pub fn get(&self, site: usize) -> Option<&Tensor<B, 2>> {
        self.0[site].as_ref()
    }

    /// The adapted sites with their matrices.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Tensor<B, 2>)> {
        self.0.iter().enumerate().filter_map(|(site, m)| m.as_ref().map(|m| (site, m)))
    }

    /// Applies `f` to every matrix.
    pub fn map<C: Backend>(
        &self,
        mut f: impl FnMut(usize, Tensor<B, 2>) -> Tensor<C, 2>,
    ) -> Factors<C> {
        let apply = |(site, m): (usize, &Option<Tensor<B, 2>>)| m.clone().map(|m| f(site, m));
        Factors(self.0.iter().enumerate().map(apply).collect())
    }

    /// Applies `f` to the matrices of the same site.
    ///
    /// # Panics
    /// If the two do not adapt the same sites.
    pub fn zip_map(
        &self,
        other: &Self,
        mut f: impl FnMut(usize, Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    ) -> Self {
        self.map(|site, a| {
            let b = other.get(site).unwrap_or_else(|| panic!("site {site} is not in both sets"));
            f(site, a, b.clone())
        })
    }

    /// Zeros of the same shapes.
    pub fn zeros_like(&self) -> Self {
        self.map(|_, m| m.zeros_like())
    }

    /// `self + factor · other`
    pub fn axpy(&self, factor: f64, other: &Self) -> Self {
        self.zip_map(other, |_, a, b| a + b.mul_scalar(factor))
    }

    /// Element by element product.
    pub fn mul(&self, other: &Self) -> Self {
        self.zip_map(other, |_, a, b| a * b)
    }

    /// `⟨self, other⟩`; the sites' sums are fetched together and added in f64.
    pub fn dot(&self, other: &Self) -> f64 {
        let terms = self.iter().map(|(site, a)| {
            let b = other.get(site).expect("the same sites in both sets").clone();
            (a.clone() * b).sum()
        });
        let terms: Vec<Tensor<B, 1>> = terms.collect();
        if terms.is_empty() { 0.0 } else { Tensor::cat(terms, 0).into_data().iter::<f64>().sum() }
    }

    /// The Euclidean norm over all sites.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The same norm as a tensor `[1]` that nobody has waited for.
    ///
    /// # Panics
    /// If no site is adapted.
    pub fn norm_tensor(&self) -> Tensor<B, 1> {
        let squares = self.iter().map(|(_, m)| (m.clone() * m.clone()).sum());
        Tensor::cat(squares.collect(), 0).sum().sqrt()
    }
}
