//! Fusing several concepts into one weight per layer: one file for each fusion.
//!
//! A [`Fusion`] takes a layer's frozen weight, the members' factors and, if it needs them, statistics of
//! the inputs that the layer has with each member. It returns the change of the weight as a
//! [`WeightPatch`](crate::lora::WeightPatch). [`FusionRun`] goes from layer to layer and tells beforehand
//! how much memory that takes, [`record_activations`] collects the statistics, and [`patched`] applies
//! the result to a model. [`StagedFusion`] does all of it as Mix-of-Show does, and [`truncate`] makes one
//! LoRA of the result. A new fusion is a file in this folder and a line in its registry.

mod apply;
mod contract;
mod folder;
mod lbfgs;
mod least_squares;
mod loraclr;
mod mean;
mod mix_of_show;
mod origin;
mod output_error;
mod pairs;
mod record;
mod run;
mod stage;
mod stage_inputs;
mod stages;
mod statistics;
mod store;
mod sum;
mod truncate;

pub use apply::{is_cheaper_dense, merged, patched};
pub use contract::{Fusion, Layer, LayerMember, Statistics};
pub use folder::FusionFolder;
pub use least_squares::LeastSquares;
pub use loraclr::LoraClr;
pub use mean::Mean;
pub use mix_of_show::{FusionSolver, MixOfShow};
pub use origin::{FusedConcept, FusedOrigin};
pub use record::{Recording, record_activations};
pub use run::{FusionMemory, FusionRun};
pub use stage::Stage;
pub use stages::{Outcome, Progress, StagedFusion};
pub use statistics::{GramSource, KEPT_ROWS, StatisticsFolder};
pub use store::{read_fused, write_fused};
pub use sum::Sum;
pub use truncate::{TruncationError, truncate};

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
    MixOfShow,
    LoraClr,
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
    use crate::lora::{Part, Role, Site};

    /// The widest layer of Stable Diffusion 1.5's attention.
    #[test]
    fn no_layer_takes_a_gigabyte_with_any_number_of_concepts() {
        let (part, role) = (Part::Denoiser, Role::SelfAttention);
        let site = Site { name: "layer".into(), inputs: 1280, outputs: 1280, part, role };
        for fusion in all() {
            for concepts in [1, 101, 2000] {
                let bytes = fusion.memory(&site, &vec![4; concepts]);
                assert!(bytes < 1 << 30, "{}: {bytes} with {concepts}", fusion.name());
            }
        }
    }

    #[test]
    fn fusions_are_found_by_name() {
        for name in NAMES {
            assert_eq!(by_name(name).unwrap().name(), *name);
        }
        let error = by_name("median").unwrap_err().to_string();
        assert!(error.contains("fusion `median`") && error.contains("least-squares"), "{error}");
    }
}
