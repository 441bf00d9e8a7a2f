//! The trait of fusions, and the data of one layer that they get.

use std::fmt::Debug;

use nalgebra::DMatrix;

use crate::error::{Error, Result};
use crate::lora::{Gram, Site, StoredFactors, WeightPatch};

/// Activation statistics that a fusion needs of each member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statistics {
    /// No statistics: the factors are enough.
    None,
    /// The Gram matrix G_i = Σ x xᵀ of a layer's inputs.
    Gram,
    /// The Gram matrix, and the last inputs themselves: all, or as many as were kept.
    GramAndInputs,
}

/// A way to combine the changes that several concepts make to a layer into one.
///
/// It computes on the host in f64, each layer by itself; several threads may fuse layers at once.
pub trait Fusion: Debug + Send + Sync {
    /// Its name in settings and reports.
    fn name(&self) -> &'static str;

    /// What it does, to complete the sentence "Concepts were fused …".
    fn description(&self) -> &'static str;

    /// The statistics that each [`LayerMember`] has to bring.
    fn needs(&self) -> Statistics {
        Statistics::None
    }

    /// An upper bound of the bytes that [`Fusion::fuse`] allocates for this layer, including its result,
    /// for members of these ranks at the site (0: not adapted). The members' factors and the statistics
    /// of the current member do not count.
    fn memory(&self, site: &Site, ranks: &[usize]) -> usize;

    /// The change of one layer's weight. Members come one after the other, and a member's statistics are
    /// read when the iterator reaches it: a fusion that drops each member holds one of them at a time.
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

    /// The dense patch of a ΔW `[n, m]`.
    ///
    /// # Errors
    /// If it is not finite.
    pub fn dense_patch(&self, delta: &DMatrix<f64>) -> Result<WeightPatch> {
        let Site { name, inputs, outputs, .. } = self.site;
        // ΔWᵀ column by column is ΔW row by row.
        let values: Vec<f32> = delta.transpose().iter().map(|x| *x as f32).collect();
        match values.iter().all(|x| x.is_finite()) {
            true => Ok(WeightPatch::Dense { outputs: *outputs, inputs: *inputs, values }),
            false => Err(Error::Invalid(format!("the fused weight of `{name}` is not finite"))),
        }
    }
}

/// One concept at the layer that is being fused.
#[derive(Debug)]
pub struct LayerMember<'a> {
    /// The concept.
    pub id: &'a str,
    /// λ, by which its factors are yet to be multiplied.
    pub scale: f64,
    /// A and B; `None` if the concept does not adapt the layer.
    pub factors: Option<StoredFactors>,
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
