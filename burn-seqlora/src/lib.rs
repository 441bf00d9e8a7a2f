//! SeqLoRA on Burn: teach Stable Diffusion one concept after another, and use all of them at once.

pub use burn_jvp as jvp;
pub use seqlora_core::*;
pub use seqlora_data as data;
pub use seqlora_eval as eval;
pub use seqlora_files as files;
pub use seqlora_kernels as kernels;
pub use seqlora_models as models;
pub use seqlora_toy_world as toy_world;
