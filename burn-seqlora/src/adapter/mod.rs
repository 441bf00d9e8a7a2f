//! Low-rank adapters: where they sit, their factors A and B, and how many concepts a layer holds.

mod capacity;
pub mod directions;
mod factors;
mod set;
mod site;

pub use capacity::{CapacityPlan, plan_ranks};
pub use factors::Factors;
pub use set::{AdapterSet, DualAdapters};
pub use site::{Part, Role, Site, SiteRegistry, SiteSelection};
