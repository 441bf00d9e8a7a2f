//! Files of tensors: safetensors, and PyTorch's archives.

mod header;
mod metadata;
mod pytorch;

pub use header::Header;
pub use metadata::{sort_metadata, sort_metadata_of};
