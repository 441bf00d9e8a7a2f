//! Everything foreign about checkpoints: file names, key names, configs, data types.

mod config;
mod error;
mod files;
mod fingerprint;
mod keys;
mod load;
mod random;

pub use config::{PerLevel, require_defaults};
pub use error::ModelError;
pub use files::{WeightFiles, needed_files};
pub use fingerprint::fingerprint;
pub use keys::KeyTable;
pub use load::load_weights;
pub use random::random_weights;
