//! The test bodies, by topic. Each takes the relative error that its backend may have.

pub mod kernels;
pub mod parity;
pub mod second_order;
