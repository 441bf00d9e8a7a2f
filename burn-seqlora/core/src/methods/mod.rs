//! How a concept's factors are trained: one file for each method.
//!
//! A [`Method`] says what B of a new concept is kept orthogonal to, how A and B begin, what one minibatch
//! does to them, and what becomes of them in the bank. The trainer, the planner and reports ask this
//! trait and nothing else. A new method is a file in this folder and a line in its registry.

mod adamw;
mod alternating;
mod bilevel;
mod initial;
mod lora;
mod method;
mod orthogonal;
mod problem;
mod seqlora;
mod state;

pub use alternating::Alternating;
pub use initial::initial_embeddings;
pub use lora::PlainLora;
pub use method::{Constraint, Method, Work};
pub use orthogonal::OrthogonalAdaptation;
pub use problem::{Losses, Problem, StepTensors};
pub use seqlora::SeqLora;
pub use state::TrainState;

use seqlora_kernels::TrainBackend;

use crate::error::{Error, Result};

/// Makes [`NAMES`] and [`all`] of a list of methods.
macro_rules! registry {
    ($($method:ident,)*) => {
        /// The names of all methods of this crate.
        pub const NAMES: &[&str] = &[$($method::NAME),*];

        /// Every method of this crate, in the order of [`NAMES`].
        pub fn all<B: TrainBackend>() -> Vec<&'static dyn Method<B>> {
            vec![$(&$method),*]
        }
    };
}

registry! {
    SeqLora,
    Alternating,
    PlainLora,
    OrthogonalAdaptation,
}

/// The method of this name.
///
/// # Errors
/// If there is none; the message lists all.
pub fn by_name<B: TrainBackend>(name: &str) -> Result<&'static dyn Method<B>> {
    let found = all::<B>().into_iter().find(|method| method.name() == name);
    found.ok_or_else(|| Error::UnknownName {
        what: "method",
        name: name.into(),
        known: NAMES.to_vec(),
    })
}
