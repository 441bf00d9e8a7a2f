//! Orthonormal directions at each site.

use burn::tensor::{Tensor, backend::Backend};

/// Q at each site, `[inputs, directions]` with orthonormal columns; `None` where there are no directions.
#[derive(Debug, Clone)]
pub struct Bases<B: Backend>(Vec<Option<Tensor<B, 2>>>);

impl<B: Backend> Default for Bases<B> {
    /// No directions anywhere.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend> Bases<B> {
    /// One entry per site, in the order of the sites' numbers.
    pub fn new(sites: Vec<Option<Tensor<B, 2>>>) -> Self {
        Self(sites)
    }

    /// Whether there are no directions anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Q at a site, if there are directions.
    pub fn get(&self, site: usize) -> Option<&Tensor<B, 2>> {
        self.0.get(site)?.as_ref()
    }
}
