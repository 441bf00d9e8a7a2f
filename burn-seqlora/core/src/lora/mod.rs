//! Low-rank adapters: where they sit, and their factors A and B; dense patches and activation probes at
//! the same sites.

mod attention_maps;
mod bases;
pub mod directions;
mod factors;
mod feasible;
mod patch;
mod probe;
mod recompute;
mod set;
mod shared_basis;
mod site;
mod stored;
mod subspace;

pub use attention_maps::AttentionMaps;
pub use bases::Bases;
pub use factors::Factors;
pub use feasible::Feasible;
pub use patch::{PatchSet, WeightPatch};
pub use probe::{ActivationProbe, ActivationStatistics, Gram};
pub use recompute::{Recompute, Segment, Traced};
pub use set::{AdapterSet, DualAdapters};
pub use shared_basis::shared_basis;
pub use site::{Part, Role, Site, SiteRegistry, SiteSelection};
pub use stored::{StoredAdapter, StoredFactors, finish_adapter};
pub use subspace::Subspace;
