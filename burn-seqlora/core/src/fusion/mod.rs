//! Fusing several concepts into one weight per layer: one file for each fusion.
//!
//! A [`Fusion`] takes a layer's frozen weight, the members' factors and, if it needs them, statistics of
//! the inputs that the layer has with each member. It returns the change of the weight as a
//! [`WeightPatch`](crate::lora::WeightPatch). [`FusionRun`] goes from layer to layer and tells beforehand
//! how much memory that takes, [`record_activations`] collects the statistics, and [`patched`] applies
//! the result to a model. A new fusion is a file in this folder and a line in its registry.

mod apply;
mod contract;
mod least_squares;
mod mean;
mod record;
mod run;
mod statistics;
mod store;
mod sum;

pub use apply::{is_cheaper_dense, merged, patched};
pub use contract::{Fusion, Layer, LayerMember, Statistics};
pub use least_squares::LeastSquares;
pub use mean::Mean;
pub use record::{Recording, record_activations};
pub use run::{FusionMemory, FusionRun};
pub use statistics::{GramSource, StatisticsFolder};
pub use store::{read_patches, write_patches};
pub use sum::Sum;

use crate::error::{Error, Result};

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
