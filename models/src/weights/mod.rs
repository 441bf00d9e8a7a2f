//! Everything foreign about checkpoints: file names, key names, configs, data types.

mod checksums;
mod config;
mod error;
mod files;
mod fingerprint;
mod keys;
mod load;
mod random;
mod save;

pub use checksums::verify_checksums;
pub use config::{Activation, PerLevel, require_defaults};
pub use error::ModelError;
pub use files::WeightFiles;
pub use fingerprint::fingerprint;
pub use keys::KeyTable;
pub use load::load_weights;
pub use random::random_weights;
pub use save::{Stored, save_weights};
