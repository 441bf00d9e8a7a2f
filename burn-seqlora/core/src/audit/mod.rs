//! Whether adapters interfere with each other where they are added.
//!
//! Two answers, because the first alone says "no" of merges that visibly clash (docs/decisions/0009):
//! - in weight space, [`weight_overlaps`]: how far the subspaces span(B_i) and span(B_j) overlap, as a
//!   multiple of what random ones do, at which angles, and whether the changes of the weights add up or
//!   cancel;
//! - in activation space, [`ActivationAudit`]: how much ΔW_i = A_i B_iᵀ changes a layer's output on the
//!   inputs x_j that another concept's prompts and images give the layer, and on those of common prompts.
//!   Orthogonal subspaces do not rule that out, because inputs have parts in common that lie in no
//!   concept's span.

mod activations;
mod energy;
mod subspace;
mod summary;
mod weights;

pub use activations::{ActivationAudit, COMMON_PROMPTS, Subject};
pub use energy::{Energies, SiteEnergies, mean_energy};
pub use subspace::SubspaceOverlap;
pub use summary::{Disturbance, LayerGroup, disturbances, shares_on_common};
pub use weights::{PairWeights, SiteWeights, weight_overlaps};
