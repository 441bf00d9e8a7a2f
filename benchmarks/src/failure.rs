//! Why a benchmark did not finish.

/// Any error, for people to read.
pub type Failure = Box<dyn std::error::Error>;
