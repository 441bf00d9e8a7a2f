//! The checkpoint formats of other tools: file names, key names, configs and data types.

mod checksums;
mod config;
mod error;
mod files;
mod fingerprint;
mod key_layout;
mod keys;
pub mod ldm;
mod load;
mod random;
mod save;

pub use checksums::{verify_checksums, write_checksums};
pub use config::{Activation, PerLevel, require_defaults, require_parts};
pub use error::ModelError;
pub use files::{WeightFiles, needed_files};
pub use fingerprint::fingerprint;
pub use key_layout::KeyLayout;
pub use keys::KeyTable;
pub use load::{load_weights, load_weights_as};
pub use random::random_weights;
pub use save::{Stored, save_weights};
