//! Ways of learning the same concepts of the toy world: a demo for each of them and each seed.
//!
//! [`sweep`] compares them by the demos' own scores. [`methods`] also fuses what was learnt, and evaluates
//! everything by one protocol; [`plots`] draws what such comparisons gave.

mod comparison;
mod demos;
mod learnt;
pub mod methods;
pub mod plots;
mod pooled;
mod result;
pub mod sweep;
mod workers;

use serde::{Deserialize, Serialize};

/// One way of learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name in tables.
    pub name: String,
    /// The name of the method.
    pub method: String,
    /// How many workers learn the concepts, each in a subspace of its own.
    #[serde(default = "one")]
    pub workers: usize,
    /// What differs from the demo's settings.
    #[serde(default)]
    pub settings: toml::Table,
}

fn one() -> usize {
    1
}

/// A name as a folder.
fn folder_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
