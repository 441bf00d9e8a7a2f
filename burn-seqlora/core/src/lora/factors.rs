//! One matrix per adapted site, stored as one vector.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::total;

use crate::read::scalar;

/// One matrix per site; `None` where the site is not adapted.
///
/// The factors A of a concept form one such vector, the factors B another, and so do their
/// gradients, directions and optimizer states. All numbers lie in one buffer, so that an optimizer's
/// step takes as many operations as for a single tensor, whatever the number of sites (176 in SD1.5); the
/// matrix of a site is a view into it. Sites are addressed by number.
#[derive(Debug, Clone)]
pub struct Factors<B: Backend> {
    layout: Arc<Layout>,
    /// All matrices row by row, one after the other; `None` if no site is adapted.
    values: Option<Tensor<B, 1>>,
}

/// Where the matrices of the sites lie.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// One entry per site.
    sites: Vec<Option<Place>>,
    total: usize,
}

/// Where a matrix lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    shape: [usize; 2],
}

impl Place {
    fn len(self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

impl<B: Backend> Factors<B> {
    /// One entry per site, in the order of the sites' numbers.
    pub fn new(matrices: Vec<Option<Tensor<B, 2>>>) -> Self {
        let mut total = 0;
        let place = |matrix: &Option<Tensor<B, 2>>| {
            let place = Place { start: total, shape: matrix.as_ref()?.dims() };
            total += place.len();
            Some(place)
        };
        let sites = matrices.iter().map(place).collect();
        let layout = Arc::new(Layout { sites, total });
        let flat = |matrix: Tensor<B, 2>| {
            let [rows, columns] = matrix.dims();
            matrix.reshape([rows * columns])
        };
        let flat: Vec<Tensor<B, 1>> = matrices.into_iter().flatten().map(flat).collect();
        Self { layout, values: (!flat.is_empty()).then(|| Tensor::cat(flat, 0)) }
    }

    /// No site adapted.
    pub fn empty(sites: usize) -> Self {
        Self::new(vec![None; sites])
    }

    /// The number of sites, adapted or not.
    pub fn len(&self) -> usize {
        self.layout.sites.len()
    }

    /// Whether no site is adapted.
    pub fn is_empty(&self) -> bool {
        self.values.is_none()
    }

    /// The number of columns at a site; 0 where it is not adapted.
    pub fn rank(&self, site: usize) -> usize {
        self.layout.sites[site].map_or(0, |place| place.shape[1])
    }

    /// The matrix of one site.
    pub fn get(&self, site: usize) -> Option<Tensor<B, 2>> {
        let place = self.layout.sites[site]?;
        let values = self.values.clone()?;
        Some(values.narrow(0, place.start, place.len()).reshape(place.shape))
    }

    /// The adapted sites with their matrices.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Tensor<B, 2>)> {
        (0..self.len()).filter_map(|site| Some((site, self.get(site)?)))
    }

    /// Applies `f` to the matrix of every site.
    pub fn map<C: Backend>(
        &self,
        mut f: impl FnMut(usize, Tensor<B, 2>) -> Tensor<C, 2>,
    ) -> Factors<C> {
        let site = |site| self.get(site).map(|matrix| f(site, matrix));
        Factors::new((0..self.len()).map(site).collect())
    }

    /// Applies a function of each element to all numbers at once.
    pub fn map_elements(&self, f: impl FnOnce(Tensor<B, 1>) -> Tensor<B, 1>) -> Self {
        Self { layout: self.layout.clone(), values: self.values.clone().map(f) }
    }

    /// Applies a function of each pair of elements to all numbers at once.
    ///
    /// # Panics
    /// If the two do not adapt the same sites at the same ranks.
    pub fn zip_elements(
        &self,
        other: &Self,
        f: impl FnOnce(Tensor<B, 1>, Tensor<B, 1>) -> Tensor<B, 1>,
    ) -> Self {
        self.check_same(other);
        let values = self.values.clone().zip(other.values.clone());
        Self { layout: self.layout.clone(), values: values.map(|(a, b)| f(a, b)) }
    }

    /// [`zip_elements`](Self::zip_elements) with a number that depends on the site, such as its learning
    /// rate; sites in a row that share it are taken together.
    ///
    /// # Panics
    /// If the two do not adapt the same sites at the same ranks.
    pub fn zip_with_rates(
        &self,
        other: &Self,
        rate: impl Fn(usize) -> f64,
        f: impl Fn(Tensor<B, 1>, Tensor<B, 1>, f64) -> Tensor<B, 1>,
    ) -> Self {
        self.check_same(other);
        let (Some(a), Some(b)) = (&self.values, &other.values) else { return self.clone() };
        let runs = self.layout.runs(rate);
        let part = |t: &Tensor<B, 1>, run: &Run| match run.length == self.layout.total {
            true => t.clone(),
            false => t.clone().narrow(0, run.start, run.length),
        };
        let mut parts = runs.iter().map(|run| f(part(a, run), part(b, run), run.rate));
        let values = match runs.len() {
            1 => parts.next().expect("one run"),
            _ => Tensor::cat(parts.collect(), 0),
        };
        Self { layout: self.layout.clone(), values: Some(values) }
    }

    /// Each matrix times a number of its site.
    pub fn scale_by_rates(&self, rate: impl Fn(usize) -> f64) -> Self {
        self.zip_with_rates(self, rate, |a, _, rate| a.mul_scalar(rate))
    }

    fn check_same(&self, other: &Self) {
        let same = Arc::ptr_eq(&self.layout, &other.layout) || self.layout == other.layout;
        assert!(same, "both sets of factors adapt the same sites at the same ranks");
    }

    /// Zeros of the same shapes.
    pub fn zeros_like(&self) -> Self {
        self.map_elements(|values| values.zeros_like())
    }

    /// Ones of the same shapes.
    pub fn ones_like(&self) -> Self {
        self.map_elements(|values| values.ones_like())
    }

    /// `self + factor · other`
    pub fn axpy(&self, factor: f64, other: &Self) -> Self {
        self.zip_elements(other, |a, b| a + b.mul_scalar(factor))
    }

    /// Element by element product.
    pub fn mul(&self, other: &Self) -> Self {
        self.zip_elements(other, |a, b| a * b)
    }

    /// `⟨self, other⟩`; waits for the device.
    pub fn dot(&self, other: &Self) -> f64 {
        self.check_same(other);
        match (&self.values, &other.values) {
            (Some(a), Some(b)) => scalar(total(a.clone() * b.clone())),
            _ => 0.0,
        }
    }

    /// The Euclidean norm over all sites; waits for the device.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The same norm as a tensor `[1]` that nobody has waited for.
    ///
    /// # Panics
    /// If no site is adapted.
    pub fn norm_tensor(&self) -> Tensor<B, 1> {
        let values = self.values.clone().expect("some site is adapted");
        total(values.clone() * values).sqrt()
    }
}

/// Consecutive numbers of sites that share a rate.
struct Run {
    start: usize,
    length: usize,
    rate: f64,
}

impl Layout {
    fn runs(&self, rate: impl Fn(usize) -> f64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (site, place) in self.sites.iter().enumerate() {
            let Some(place) = place else { continue };
            let rate = rate(site);
            match runs.last_mut().filter(|run| run.rate == rate) {
                Some(run) => run.length += place.len(),
                None => runs.push(Run { start: place.start, length: place.len(), rate }),
            }
        }
        runs
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    fn matrix(rows: usize, columns: usize, first: f32) -> Option<Tensor<Flex, 2>> {
        let count = (rows * columns) as i64;
        let values = Tensor::arange(0..count, &Default::default()).float().add_scalar(first);
        Some(values.reshape([rows, columns]))
    }

    fn factors() -> Factors<Flex> {
        Factors::new(vec![matrix(2, 3, 0.0), None, matrix(4, 1, 10.0), matrix(1, 2, 20.0)])
    }

    #[test]
    fn matrices_come_back_and_missing_sites_stay_missing() {
        let factors = factors();
        assert_eq!(factors.get(2).unwrap().to_data(), matrix(4, 1, 10.0).unwrap().to_data());
        assert_eq!(factors.get(3).unwrap().to_data(), matrix(1, 2, 20.0).unwrap().to_data());
        assert!(factors.get(1).is_none() && !factors.is_empty() && factors.len() == 4);
        assert_eq!((0..4).map(|site| factors.rank(site)).collect::<Vec<_>>(), [3, 0, 1, 2]);
        assert!(Factors::<Flex>::empty(3).is_empty());
        let doubled = factors.map(|site, m| m.mul_scalar(if site == 2 { 2.0 } else { 1.0 }));
        let expected = matrix(4, 1, 10.0).unwrap().mul_scalar(2.0);
        assert_eq!(doubled.get(2).unwrap().to_data(), expected.to_data());
    }

    #[test]
    fn each_site_gets_its_own_rate() {
        let factors = factors();
        let rate = |site| if site < 2 { 1.0 } else { 10.0 };
        let moved = factors.zip_with_rates(&factors, rate, |a, b, rate| a + b.mul_scalar(rate));
        for (site, matrix) in factors.iter() {
            let expected = matrix.mul_scalar(1.0 + rate(site));
            assert_eq!(moved.get(site).unwrap().to_data(), expected.to_data());
        }
    }

    #[test]
    fn products_run_over_all_sites() {
        let factors = factors();
        let squares: f32 =
            [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 20, 21].map(|x| (x * x) as f32).iter().sum();
        assert_eq!(factors.dot(&factors), f64::from(squares));
        assert!((factors.norm() - f64::from(squares).sqrt()).abs() < 1e-6);
    }

    #[test]
    #[should_panic(expected = "the same sites")]
    fn other_sites_are_refused() {
        factors().axpy(1.0, &Factors::empty(4));
    }
}
