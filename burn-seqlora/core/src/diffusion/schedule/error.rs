//! Why a noise schedule or a sampler cannot be built.

/// Why a noise schedule or a sampler could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The text is not JSON, or a key, which is named, holds a value of the wrong type.
    #[error("it is no scheduler's config: {0}")]
    Parse(String),
    /// A value that diffusers knows and this crate does not compute.
    #[error("scheduler config: `{key}` = {value} is not supported; supported: {supported}")]
    Unsupported {
        /// Key of scheduler_config.json (or `sampler` for a sampler's name).
        key: &'static str,
        /// The value found, or the default that a missing key stands for.
        value: String,
        /// The values that would do.
        supported: String,
    },
    /// A value that no schedule can have.
    #[error("scheduler config: `{key}` = {value} is invalid; expected {expected}")]
    Invalid {
        /// Key of scheduler_config.json.
        key: &'static str,
        /// The value found.
        value: String,
        /// What the key must satisfy.
        expected: String,
    },
    /// A timestep outside the training table.
    #[error(
        "timestep {timestep} is outside the schedule; valid timesteps are 0..{num_train_timesteps}"
    )]
    Timestep {
        /// The timestep asked for.
        timestep: usize,
        /// Length of the table.
        num_train_timesteps: usize,
    },
    /// A number of sampling steps that the schedule cannot give.
    #[error("cannot sample in {requested} steps; choose between 1 and {max}")]
    Steps {
        /// The number asked for.
        requested: usize,
        /// The training timesteps there are.
        max: usize,
    },
    /// Karras levels for a sampler that has none.
    #[error("the sampler {sampler} has no Karras levels; choose one of {others}")]
    NoKarras {
        /// The sampler.
        sampler: &'static str,
        /// The samplers that have Karras levels.
        others: String,
    },
    /// A strength that leaves no sampling step, or more than there are.
    #[error(
        "a strength of {strength} leaves {} of {steps} steps; it must be from 1/steps to 1",
        if *strength > 1.0 { "more than all" } else { "none" }
    )]
    Strength {
        /// The share of the steps that was asked for.
        strength: f64,
        /// The steps there are.
        steps: usize,
    },
    /// A sampling step whose coefficients are not finite numbers.
    #[error(
        "sampling step {step} (timestep {timestep}) has no finite update: two of its noise levels \
         coincide (use fewer steps), or the signal is zero there (`rescale_betas_zero_snr` needs \
         `prediction_type` v_prediction or sample)"
    )]
    Degenerate {
        /// Index of the step in the plan.
        step: usize,
        /// Timestep the model would have been given.
        timestep: f64,
    },
}
