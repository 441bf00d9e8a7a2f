//! diffusers' `scheduler_config.json`, read as diffusers' `from_config` reads it.

use std::borrow::Cow;
use std::fmt::Display;

use seqlora_files::{parse_object, printable};
use serde::{Deserialize, Serialize};

use super::error::ScheduleError;
use super::prediction::Prediction;

/// The keys of a diffusers `scheduler_config.json` that change the maths.
///
/// A missing key stays `None`, because its default belongs to the scheduler that reads the file
/// and not to the one that wrote it: `SchedulerB.from_config(scheduler_a.config)` takes the keys
/// that were in A's file and B's own defaults for the rest. A file without `timestep_spacing` is
/// thus `leading` for DDIM and `linspace` for DPM-Solver++ and Euler. In the same way a key is
/// looked at (and refused, if its value is not implemented) only by the readers whose diffusers
/// class has it: `clip_sample` by DDIM alone.
///
/// Unknown keys are accepted: the file is not ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Scheduler class that wrote the file. Any class over a β table will do.
    #[serde(rename = "_class_name", skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Length T of the β table; default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_train_timesteps: Option<usize>,
    /// First β; default 1e-4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_start: Option<f64>,
    /// Last β; default 0.02.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_end: Option<f64>,
    /// `linear` (default), `scaled_linear` or `squaredcos_cap_v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_schedule: Option<String>,
    /// The whole β table, instead of the three keys above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// Shift the table so that the last timestep is pure noise; default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescale_betas_zero_snr: Option<bool>,
    /// `epsilon` (default), `v_prediction` or `sample`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction_type: Option<String>,
    /// `leading`, `trailing` or `linspace`; the default is the sampler's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestep_spacing: Option<String>,
    /// Added to every timestep of `leading` spacing; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_offset: Option<usize>,
    /// DDIM: the level after the last step is 1 (default true) or ᾱ_0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_alpha_to_one: Option<bool>,
    /// DDIM: only false is supported, and diffusers' default is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_sample: Option<bool>,
    /// DDIM, DPM-Solver++: only false (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholding: Option<bool>,
    /// DPM-Solver++, Euler: noise levels of Karras et al. 2022; default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_karras_sigmas: Option<bool>,
    /// DPM-Solver++, Euler: only false (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_exponential_sigmas: Option<bool>,
    /// DPM-Solver++, Euler: only false (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_beta_sigmas: Option<bool>,
    /// DPM-Solver++: only false (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_lu_lambdas: Option<bool>,
    /// Every sampler: only false (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_flow_sigmas: Option<bool>,
    /// Lowest level of the Karras levels; default: the lowest of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_min: Option<f64>,
    /// Highest level of the Karras levels; default: the highest of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_max: Option<f64>,
    /// DPM-Solver++, Euler: level after the last step, `zero` (default) or `sigma_min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_sigmas_type: Option<String>,
    /// Euler: only `linear` (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation_type: Option<String>,
    /// Euler: only `discrete` (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestep_type: Option<String>,
    /// DPM-Solver++: only `dpmsolver++` (default; `deis` is read as it) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm_type: Option<String>,
    /// DPM-Solver++: only `midpoint` (default; `logrho`, `bh1`, `bh2` are read as it) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solver_type: Option<String>,
    /// DPM-Solver++: only 2 (default) is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solver_order: Option<usize>,
    /// DPM-Solver++: first order in the last step of fewer than 15; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_order_final: Option<bool>,
    /// DPM-Solver++: first order in the last step; default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub euler_at_final: Option<bool>,
    /// DPM-Solver++: timesteps whose log(signal/noise) is lower are left out; default −∞.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_min_clipped: Option<f64>,
    /// DPM-Solver++: `learned` and `learned_range` are not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_type: Option<String>,
}

/// Classes of diffusers whose file describes a β table: its `KarrasDiffusionSchedulers` and close
/// kin. Flow-matching and EDM classes share key names with them, but not the forward process.
const FAMILY: [&str; 18] = [
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    SquaredCosine,
}

impl SchedulerConfig {
    /// Parses the text of a `scheduler_config.json`.
    ///
    /// Python's JSON is accepted, that is `Infinity` and `-Infinity` where a number may stand
    /// (diffusers writes `"lambda_min_clipped": -Infinity`); they become the largest and smallest
    /// finite number.
    ///
    /// # Errors
    /// [`ScheduleError::Parse`] if the text is not JSON or a key has a value of the wrong type.
    pub fn from_json(text: &str) -> Result<Self, ScheduleError> {
        parse_object(&finite_numbers(text)).map_err(ScheduleError::Parse)
    }

    /// Length T of the β table.
    pub fn num_train_timesteps(&self) -> usize {
        self.num_train_timesteps.unwrap_or(1000)
    }

    /// What the model predicts.
    ///
    /// # Errors
    /// [`ScheduleError::Unsupported`] for a `prediction_type` that is not a [`Prediction`].
    pub fn prediction(&self) -> Result<Prediction, ScheduleError> {
        choice(
            "prediction_type",
            self.prediction_type.as_deref(),
            Prediction::Epsilon,
            &[
                ("epsilon", Prediction::Epsilon),
                ("v_prediction", Prediction::VPrediction),
                ("sample", Prediction::Sample),
            ],
        )
    }

    pub(crate) fn rescale_betas_zero_snr(&self) -> bool {
        self.rescale_betas_zero_snr.unwrap_or(false)
    }

    pub(super) fn beta_schedule(&self) -> Result<BetaSchedule, ScheduleError> {
        choice(
            "beta_schedule",
            self.beta_schedule.as_deref(),
            BetaSchedule::Linear,
            &[
                ("linear", BetaSchedule::Linear),
                ("scaled_linear", BetaSchedule::ScaledLinear),
                ("squaredcos_cap_v2", BetaSchedule::SquaredCosine),
            ],
        )
    }

    /// Refuses files that describe another forward process.
    pub(super) fn check_family(&self) -> Result<(), ScheduleError> {
        refuse("use_flow_sigmas", self.use_flow_sigmas, false)?;
        let options = FAMILY.map(|name| (name, ()));
        choice("_class_name", self.class_name.as_deref(), (), &options)
    }
}

/// The option that `value` names; `default` when the key is missing.
pub(crate) fn choice<T: Copy>(
    key: &'static str,
    value: Option<&str>,
    default: T,
    options: &[(&str, T)],
) -> Result<T, ScheduleError> {
    let Some(value) = value else { return Ok(default) };
    options.iter().find(|(name, _)| *name == value).map(|(_, option)| *option).ok_or_else(|| {
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        ScheduleError::Unsupported {
            key,
            value: format!("\"{}\"", printable(value)),
            supported: names.join(", "),
        }
    })
}

/// Refuses a switch that is on, or that is missing where diffusers' `default` is on.
pub(crate) fn refuse(
    key: &'static str,
    value: Option<bool>,
    default: bool,
) -> Result<(), ScheduleError> {
    let value = match (value, default) {
        (Some(false), _) | (None, false) => return Ok(()),
        (Some(true), _) => "true".to_string(),
        (None, true) => "true (diffusers' default for a missing key)".to_string(),
    };
    Err(ScheduleError::Unsupported { key, value, supported: "false".to_string() })
}

/// A value that no schedule can have.
pub(crate) fn invalid(
    key: &'static str,
    value: impl Display,
    expected: impl Into<String>,
) -> ScheduleError {
    ScheduleError::Invalid { key, value: value.to_string(), expected: expected.into() }
}

/// Replaces Python's bare `Infinity` by the largest finite number, outside of strings.
fn finite_numbers(text: &str) -> Cow<'_, str> {
    const NAME: &str = "Infinity";
    if !text.contains(NAME) {
        return Cow::Borrowed(text);
    }
    let mut parts = Vec::new();
    let (mut quoted, mut escaped, mut copied) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'I' if !quoted && text[at..].starts_with(NAME) => {
                parts.extend([&text[copied..at], "1.7976931348623157e308"]);
                copied = at + NAME.len();
            }
            _ => {}
        }
    }
    parts.push(&text[copied..]);
    Cow::Owned(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_infinity_is_read_outside_strings_only() {
        let text =
            r#"{"lambda_min_clipped": -Infinity, "_class_name": "\"Infinity\\", "x": Infinity}"#;
        let config = SchedulerConfig::from_json(text).unwrap();
        assert_eq!(config.lambda_min_clipped, Some(f64::MIN));
        assert_eq!(config.class_name.as_deref(), Some("\"Infinity\\"));
    }

    #[test]
    fn unknown_keys_and_nulls_are_accepted_and_written_back_as_missing() {
        let text = r#"{"_diffusers_version":"0.6.0","skip_prk_steps":true,
            "trained_betas":null,"beta_end":0.012}"#;
        let config = SchedulerConfig::from_json(text).unwrap();
        assert_eq!(config, SchedulerConfig { beta_end: Some(0.012), ..Default::default() });
        assert_eq!(serde_json::to_string(&config).unwrap(), r#"{"beta_end":0.012}"#);
    }

    #[test]
    fn errors_name_key_value_and_place() {
        let cases = [
            (r#"{"beta_schedule":"sigmoid"}"#, "`beta_schedule` = \"sigmoid\""),
            (r#"{"prediction_type":"flow_prediction"}"#, "`prediction_type` = \"flow_prediction\""),
            (r#"{"_class_name":"FlowMatchEulerDiscreteScheduler"}"#, "`_class_name` = \"Flow"),
            (r#"{"use_flow_sigmas":true}"#, "`use_flow_sigmas` = true"),
            (r#"{"beta_start":0}"#, "`beta_start` = 0 is invalid"),
            (r#"{"num_train_timesteps":0}"#, "`num_train_timesteps` = 0 is invalid"),
            (r#"{"trained_betas":[0.1]}"#, "`trained_betas` = 1 numbers is invalid"),
            (r#"{"num_train_timesteps":1152921504606846976}"#, "expected 1 to 100000"),
            (r#"{"steps_offset":1000}"#, "`steps_offset` = 1000 is invalid"),
            (r#"{"beta_schedule":"squaredcos_cap_v2","beta_start":2}"#, "`beta_start` = 2 is"),
            (r#"{"sigma_max":-1}"#, "`sigma_max` = -1 is invalid"),
        ];
        for (text, expected) in cases {
            let config = SchedulerConfig::from_json(text).unwrap();
            let error = super::super::NoiseSchedule::new(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = SchedulerConfig::from_json(r#"{"beta_start":"low"}"#).unwrap_err().to_string();
        assert!(error.contains("`beta_start`"), "{error}");
    }
}
