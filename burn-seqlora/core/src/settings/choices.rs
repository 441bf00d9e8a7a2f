//! What can be chosen by a name.

use serde::{Deserialize, Serialize};

/// How second derivatives are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hvp {
    /// Reverse over forward: exact, one backward pass.
    #[default]
    Exact,
    /// Central differences of two gradients; refused below f32, where they are round-off.
    FiniteDifference,
    /// No second derivatives: Continual Alternating.
    None,
}

/// What scales the inner steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preconditioner {
    /// 1/(√v̂ + ε) of Adam, detached.
    #[default]
    Adam,
    /// Plain gradient descent.
    None,
}

/// How B moves along the projected hypergradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OuterOptimizer {
    /// AdamW.
    #[default]
    AdamW,
    /// Plain gradient descent, as in the paper's convergence theorem, with `weight_decay`.
    GradientDescent,
}

/// Where A goes after a step in B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmStart {
    /// A stays at A_T.
    #[default]
    Carry,
    /// The inner steps are repeated from A_0 at the new B. With plain gradient descent in A and B at rates
    /// that are small enough, without weight decay and on one fixed minibatch, the loss then never rises
    /// (the paper's convergence theorem); with Adam, the default, or changing minibatches nothing is
    /// guaranteed.
    Rerun,
}

/// Whether the activations of an inner step's gradient are cached for the Hessian product at the same
/// point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InnerActivations {
    /// They are cached, which saves two of six passes: docs/decisions/0008. Not in low memory, and not with `micro_batch`.
    #[default]
    Cache,
    /// They are computed again, which takes less memory.
    Recompute,
}

/// What is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Time: the activations of a whole evaluation are kept.
    #[default]
    Fast,
    /// Memory: those of a block are computed again when they are needed (gradient checkpointing), and none are
    /// cached.
    Low,
}

/// What the evaluations within one minibatch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseReuse {
    /// Noise and timesteps belong to the minibatch.
    #[default]
    Minibatch,
    /// Every inner step and every outer gradient draws its own.
    Evaluation,
}

/// How the learning rates develop over a concept's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Falling to zero.
    #[default]
    Linear,
    /// Falling to zero along half a wave.
    Cosine,
    /// Staying.
    Constant,
}

/// Where Orthogonal Adaptation takes its frozen B from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrozenBasis {
    /// Columns of one orthonormal basis that all concepts share: two concepts are exactly orthogonal
    /// unless they draw a column in common.
    #[default]
    Shared,
    /// Independent normal numbers: orthogonal in the mean only.
    Gaussian,
}

/// The weights that a concept is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingBase {
    /// W₀: what a concept becomes does not depend on which came before, but for Q.
    #[default]
    Pretrained,
    /// W₀ + Σ_j A_j B_jᵀ over all concepts in the bank.
    Accumulated,
}
