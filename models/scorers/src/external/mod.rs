//! Metrics that another program computes: the protocol `evalscore/1`.
//!
//! The program is a child process. It and its host exchange one JSON object per line, over its standard
//! input and output; its standard error is a log, whose end error messages show.
//!
//! ```text
//! child → {"protocol":"evalscore/1","name":"hpsv3","version":"1.0.1","columns":["mu","sigma"],
//!          "primary":"mu","higher_is_better":true,"needs":["prompt"]}
//! host  → {"id":"…","image":"/abs/p.png","prompt":"a cat on a beach","refs":["/abs/r1.png"]}
//! child → {"id":"…","scores":{"mu":8.31,"sigma":0.42}}      or {"id":"…","error":"…"}
//! host  → end of input → the child exits
//! ```
//!
//! `needs` may hold `prompt` and `refs`; what it does not hold is not sent. Images are PNG files that last
//! as long as the scorer. An image without an answer makes [`score`](seqlora_eval::Metric::score) fail;
//! it never gets a number.
//!
//! A scorer that ends or does not answer in time is started again up to `restarts` times, with the images
//! that it had not answered. One that prints something else is stopped at once: its output cannot be
//! trusted.

mod child;
mod error;
mod protocol;
mod scorer;
#[cfg(all(test, unix))]
mod tests;

pub use error::ExternalError;
pub use scorer::{ExternalConfig, ExternalScorer};

/// A scorer in Python for the package `hpsv3`, which speaks the protocol.
pub const HPSV3_SCRIPT: &str = include_str!("../../python/hpsv3_scorer.py");
