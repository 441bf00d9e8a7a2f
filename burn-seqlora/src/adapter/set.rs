//! The factors of one concept, or of a composition, at all sites of a model.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use seqlora_kernels::lora_linear::LoraPair;

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
        (0..self.down.len()).map(|s| self.down.get(s).map_or(0, |b| b.dims()[1])).collect()
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.up.elements() + self.down.elements()
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
            let up = (self.up.get(site)?.clone(), direction(site));
            Some(LoraPair { up, down: (self.down.get(site)?.clone(), None) })
        };
        DualAdapters((0..self.up.len()).map(site).collect())
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

    /// The factors at one site, if it is adapted.
    pub fn site(&self, site: usize) -> Option<LoraPair<B>> {
        self.0.get(site).cloned().flatten()
    }
}
