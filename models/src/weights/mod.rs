//! The checkpoint formats of other tools: file names, key names, configs and data types.
//!
//! Every kind of file has one place where it is checked before anything is made of it: [`Header`] for
//! safetensors files and PyTorch's archives, `load` for the names, types and shapes of weights, `files`
//! for shard indices, and `config` for the numbers of a config. [`encoders`] knows the encoders of
//! metrics, and [`ldm`] single files.

mod checksums;
mod config;
pub mod encoders;
mod error;
mod files;
mod fingerprint;
mod fused;
mod key_layout;
mod keys;
pub mod ldm;
mod load;
mod module_path;
mod random;
mod rewrite;
mod save;
mod stored;

pub use checksums::{verify_checksums, write_checksums};
pub use config::{
    Activation, PerLevel, read_config, require_defaults, require_epsilon, require_levels,
    require_parts, require_types, require_within,
};
pub use error::ModelError;
pub(crate) use files::{COMPONENTS, TOKENIZER};
pub use files::{Variant, WeightFiles, needed_files};
pub use fingerprint::fingerprint;
pub use key_layout::KeyLayout;
pub use keys::KeyTable;
pub use load::{CheckedWeights, load_weights};
pub(crate) use module_path::ModulePath;
pub use random::random_weights;
pub(crate) use rewrite::{Changes, Rewriting, Rewritten, rewrite};
pub use save::{Stored, save_weights};
pub use seqlora_files::Header;
