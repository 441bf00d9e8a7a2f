//! The factors of one concept, or of a composition, at all sites of a model.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use seqlora_kernels::lora_linear::LoraPair;

use super::Factors;
use crate::dual::Dual;

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
        (0..self.down.len()).map(|s| self.down.get(s).map_or(0, |b| b.dims()[1])).collect()
    }

    /// The same factors with nothing that moves, for inference and first gradients.
    pub fn constant(&self) -> DualAdapters<B> {
        self.pair(|_| None)
    }

    /// The factors moving along V = Ȧ, for Hessian products.
    pub fn along(&self, direction: &Factors<B>) -> DualAdapters<B> {
        self.pair(|site| direction.get(site).cloned())
    }

    fn pair(&self, direction: impl Fn(usize) -> Option<Tensor<B, 2>>) -> DualAdapters<B> {
        let site = |site| {
            let LoraPair { up: (up, _), down } = self.site(site)?;
            Some(LoraPair { up: (up, direction(site)), down })
        };
        DualAdapters((0..self.up.len()).map(site).collect())
    }

    fn site(&self, site: usize) -> Option<LoraPair<B>> {
        let [up, down] = [&self.up, &self.down].map(|factors| factors.get(site).cloned());
        Some(LoraPair { up: (up?, None), down: (down?, None) })
    }
}

impl<B: AutodiffBackend> AdapterSet<B> {
    /// The same factors as leaves of a new tape.
    pub fn leaves(inner: &AdapterSet<B::InnerBackend>, down_too: bool) -> Self {
        let leaf = |t| Tensor::from_inner(t).require_grad();
        Self {
            up: inner.up.map(|_, t| leaf(t)),
            down: inner.down.map(|_, t| if down_too { leaf(t) } else { Tensor::from_inner(t) }),
        }
    }

    /// The same factors on a backend with a tape, but not recorded.
    pub fn untracked(inner: &AdapterSet<B::InnerBackend>) -> Self {
        Self {
            up: inner.up.map(|_, t| Tensor::from_inner(t)),
            down: inner.down.map(|_, t| Tensor::from_inner(t)),
        }
    }
}

/// What the layers look up: the factors of each site, with tangents where A moves.
#[derive(Debug, Clone)]
pub struct DualAdapters<B: Backend>(Vec<Option<LoraPair<B>>>);

impl<B: Backend> DualAdapters<B> {
    /// No site adapted.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The same factors with others beside them that do not move.
    pub fn beside(&self, still: &AdapterSet<B>) -> Self {
        let sites = self.0.len().max(still.up.len());
        let cat = |a, b| Dual::<B, 2>::from(a).cat(Dual::from(b), 1).into();
        let join = |site| match (self.site(site), still.site(site)) {
            (Some(a), Some(b)) => Some(LoraPair { up: cat(a.up, b.up), down: cat(a.down, b.down) }),
            (a, b) => a.or(b),
        };
        Self((0..sites).map(join).collect())
    }

    /// The same factors in the precision of the layers that take them.
    pub fn cast(&self, dtype: FloatDType) -> Self {
        let cast = |pair| Dual::<B, 2>::from(pair).cast(dtype).into();
        let site = |pair: LoraPair<B>| LoraPair { up: cast(pair.up), down: cast(pair.down) };
        Self(self.0.iter().cloned().map(|pair| pair.map(site)).collect())
    }

    /// The factors at one site, if it is adapted.
    pub fn site(&self, site: usize) -> Option<LoraPair<B>> {
        self.0.get(site).cloned().flatten()
    }
}
