//! Whether a long computation goes on.

/// What the receiver of an event or of progress wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop, in training after the state is saved.
    Stop,
}
