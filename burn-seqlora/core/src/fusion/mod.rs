//! Several concepts in one weight per layer: one file for each way to find it.
//!
//! A [`Fusion`] gets a layer's frozen weight, the members' factors and, if it asks for them, statistics
//! of what each member's layer sees, and returns the change of the weight as a [`WeightPatch`].
//! [`FusionRun`] goes from layer to layer and says beforehand how much memory that takes,
//! [`record_activations`] collects the statistics, [`patched`] puts the result on a model. A new fusion
//! is a file in this folder and a line in its registry.

mod apply;
mod least_squares;
mod mean;
mod record;
mod run;
mod statistics;
mod store;
mod sum;

pub use apply::{is_cheaper_dense, merged, patched};
pub use least_squares::LeastSquares;
pub use mean::Mean;
pub use record::{Recording, record_activations};
pub use run::{FusionMemory, FusionRun};
pub use statistics::{GramSource, StatisticsFolder};
pub use store::{read_patches, write_patches};
pub use sum::Sum;

use std::fmt::Debug;

use nalgebra::DMatrix;

use crate::error::{Error, Result};
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
    weight: &'a dyn Fn() -> DMatrix<f64>,
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
    gram: Option<Gram>,
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

/// Makes [`NAMES`] and [`all`] of a list of fusions.
macro_rules! registry {
    ($($fusion:ident,)*) => {
        /// The names of all fusions of this crate.
        pub const NAMES: &[&str] = &[$($fusion::NAME),*];

        /// Every fusion of this crate with its default settings, in the order of [`NAMES`].
        pub fn all() -> Vec<Box<dyn Fusion>> {
            vec![$(Box::<$fusion>::default()),*]
        }
    };
}

registry! {
    Sum,
    Mean,
    LeastSquares,
}

/// The fusion of this name, with its default settings.
///
/// # Errors
/// If there is none; the message lists all.
pub fn by_name(name: &str) -> Result<Box<dyn Fusion>> {
    let found = all().into_iter().find(|fusion| fusion.name() == name);
    found.ok_or_else(|| Error::UnknownName {
        what: "fusion",
        name: name.into(),
        known: NAMES.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusions_are_found_by_name() {
        for name in NAMES {
            assert_eq!(by_name(name).unwrap().name(), *name);
        }
        let error = by_name("median").unwrap_err().to_string();
        assert!(error.contains("fusion `median`") && error.contains("least-squares"), "{error}");
    }
}
