//! Files of tensors: safetensors, and PyTorch's archives.

mod header;
mod pytorch;

pub use header::Header;
