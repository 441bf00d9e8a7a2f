//! SeqLoRA: teaching a diffusion model one concept after another (arXiv 2605.22743).
//!
//! Each concept gets a low-rank adapter ΔW = A Bᵀ. A (lower level) and B (upper level) are trained
//! together by bilevel optimisation under the constraint that B is orthogonal to the B of every
//! earlier concept, so that all adapters can simply be added.
//!
//! The way of the data is the order of the modules: [`data`] (images and prompts) → [`text`] and
//! [`diffusion`] (encoded batch, denoising loss over [`dual`] numbers) → [`diff`] (gradients,
//! Hessian products, hypergradient) → [`bilevel`] (trainer) → [`bank`] → [`compose`] → samples →
//! [`eval`] (scores) → [`report`].
//!
//! The crate never names a concrete network: [`model`] holds the few traits that it asks for.

pub mod adapter;
pub mod bank;
pub mod bilevel;
pub mod check;
pub mod compose;
pub mod config;
pub mod data;
pub mod diff;
pub mod diffusion;
pub mod dual;
pub mod encode;
pub mod error;
pub mod eval;
pub mod model;
pub mod precision;
pub mod prompts;
pub mod region;
pub mod report;
pub mod rng;
mod scalar;
pub mod text;

pub use error::{Error, Result};
