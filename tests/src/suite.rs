//! The test bodies, by topic. Each takes the relative error that its backend may have.

pub mod activation_cache;
pub mod derivatives;
pub mod forgetting;
pub mod fusion;
pub mod fusion_stages;
pub mod kernel_laws;
pub mod kernels;
pub mod learning;
pub mod less_memory;
pub mod nested;
pub mod orthogonality;
pub mod parity;
pub mod quadratic;
pub mod second_order;
pub mod trainer;
pub mod unroll;
