//! What a fusion is, as a trait, and what it gets of a layer.

use std::fmt::Debug;

use nalgebra::DMatrix;

use crate::error::Result;
use crate::lora::{Gram, Site, StoredFactors, WeightPatch};

/// What a fusion has to know of the inputs of each member's layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statistics {
    /// Nothing: the factors are enough.
    None,
    /// G_i = Σ x xᵀ.
    Gram,
}

/// A way to make one change of a layer's weight out of those of several concepts.
///
/// It computes on the host: a layer's matrices come one at a time, and a solve wants f64.
pub trait Fusion: Debug + Sync {
    /// Its name in settings and reports.
    fn name(&self) -> &'static str;

    /// What it does, to complete the sentence "Concepts were fused …".
    fn description(&self) -> &'static str;

    /// The statistics that each [`LayerMember`] then has.
    fn needs(&self) -> Statistics {
        Statistics::None
    }

    /// The most bytes that [`Fusion::fuse`] allocates for this layer, its result included, for members
    /// of these ranks there (0: not adapted). What the members and the statistics of one of them take
    /// is counted elsewhere.
    fn memory(&self, site: &Site, ranks: &[usize]) -> usize;

    /// The change of one layer's weight. Members come one after the other, in their order; none of
    /// their statistics has to be held after the next one is asked for.
    ///
    /// # Errors
    /// If a member's statistics cannot be read, or there is no solution.
    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = Result<LayerMember>>,
    ) -> Result<WeightPatch>;
}

/// The layer that is being fused.
pub struct Layer<'a> {
    /// Its name and sizes.
    pub site: &'a Site,
    pub(super) weight: &'a dyn Fn() -> DMatrix<f64>,
}

impl Layer<'_> {
    /// W₀ `[n, m]`, fetched from the model.
    pub fn weight(&self) -> DMatrix<f64> {
        (self.weight)()
    }
}

/// What a concept brings to a layer.
#[derive(Debug)]
pub struct LayerMember<'a> {
    /// The concept.
    pub id: &'a str,
    /// λ, which its factors do not contain.
    pub scale: f64,
    /// A and B; `None` if it leaves the layer as it is.
    pub factors: Option<&'a StoredFactors>,
    pub(super) gram: Option<Gram>,
}

impl LayerMember<'_> {
    /// Σ x xᵀ over the layer's inputs when the model runs with this concept.
    ///
    /// # Panics
    /// If the fusion did not ask for it in [`Fusion::needs`].
    pub fn gram(&self) -> &Gram {
        self.gram.as_ref().expect("the fusion asks for Gram matrices")
    }
}
