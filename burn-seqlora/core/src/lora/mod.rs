//! Low-rank adapters: where they sit, and their factors A and B.

mod bases;
pub mod directions;
mod factors;
mod set;
mod site;
mod stored;

pub use bases::Bases;
pub use factors::Factors;
pub use set::{AdapterSet, DualAdapters};
pub use site::{Part, Role, Site, SiteRegistry, SiteSelection};
pub use stored::{StoredAdapter, StoredFactors, finish_adapter};
