//! The factors of one concept, or of a composition, at all sites of a model.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use burn_jvp::Dual;
use seqlora_kernels::lora_linear::LoraFactors;

use super::Factors;

/// ΔW = A Bᵀ at every adapted site. There is no further scale: λ of a composition is folded into A.
#[derive(Debug, Clone)]
pub struct AdapterSet<B: Backend> {
    /// A `[outputs, rank]` per site: LoRA's up projection, the lower level's variable.
    pub up: Factors<B>,
    /// B `[inputs, rank]` per site: the transpose of LoRA's down projection, the upper level's.
    pub down: Factors<B>,
}

impl<B: Backend> AdapterSet<B> {
    /// No site adapted: the base model itself.
    pub fn empty(sites: usize) -> Self {
        Self { up: Factors::empty(sites), down: Factors::empty(sites) }
    }

    /// The rank at each site; 0 where it is not adapted.
    pub fn ranks(&self) -> Vec<usize> {
        (0..self.down.len()).map(|site| self.down.rank(site)).collect()
    }

    /// The same factors as layers take them, without tangents.
    pub fn constant(&self) -> DualAdapters<B> {
        let site = |site| {
            let [up, down] = [&self.up, &self.down].map(|factors| factors.get(site));
            Some(LoraFactors { up: Dual::constant(up?), down: Dual::constant(down?) })
        };
        DualAdapters((0..self.up.len()).map(site).collect())
    }
}

impl<B: AutodiffBackend> AdapterSet<B> {
    /// The same factors on a backend with a tape, but not recorded.
    pub fn untracked(inner: &AdapterSet<B::InnerBackend>) -> Self {
        Self {
            up: inner.up.map(|_, t| Tensor::from_inner(t)),
            down: inner.down.map(|_, t| Tensor::from_inner(t)),
        }
    }
}

/// What the layers look up: the factors of each site, with tangents where they move.
#[derive(Debug, Clone)]
pub struct DualAdapters<B: Backend>(Vec<Option<LoraFactors<B>>>);

impl<B: Backend> DualAdapters<B> {
    /// One entry per site, in the order of the sites' numbers.
    pub fn new(sites: Vec<Option<LoraFactors<B>>>) -> Self {
        Self(sites)
    }

    /// No site adapted.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The same factors concatenated with others: ΔW is the sum of both.
    pub fn concat(&self, frozen: &Self) -> Self {
        let sites = self.0.len().max(frozen.0.len());
        let join = |site| match (self.site(site), frozen.site(site)) {
            (Some(a), Some(b)) => {
                Some(LoraFactors { up: a.up.cat(b.up, 1), down: a.down.cat(b.down, 1) })
            }
            (a, b) => a.or(b),
        };
        Self((0..sites).map(join).collect())
    }

    /// The same factors in the precision of the layers that take them.
    pub fn cast(&self, dtype: FloatDType) -> Self {
        let site = |LoraFactors { up, down }: LoraFactors<B>| LoraFactors {
            up: up.cast(dtype),
            down: down.cast(dtype),
        };
        Self(self.0.iter().cloned().map(|factors| factors.map(site)).collect())
    }

    /// The factors at one site, if it is adapted.
    pub fn site(&self, site: usize) -> Option<LoraFactors<B>> {
        self.0.get(site).cloned().flatten()
    }
}
