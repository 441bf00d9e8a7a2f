//! The configs of a single file: what its shapes, its metadata and the config next to it tell.

use std::path::Path;

use seqlora_core::diffusion::Prediction;
use serde_json::{Map, Value, json};

use super::config::StableDiffusionConfig;
use super::sidecar::Sidecar;
use crate::weights::ldm;
use crate::weights::ldm::{Family, Inferred};
use crate::weights::{Header, ModelError};

/// What a single file's schedule may have where the config next to it does not name the key: Stable Diffusion's
/// values, or those of ComfyUI's marks.
pub(super) const SCHEDULE: [&str; 9] = [
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "steps_offset",
    "clip_sample",
    "set_alpha_to_one",
    "rescale_betas_zero_snr",
    "timestep_spacing",
];

/// The configs of a single file, and its family. `chosen` is what the user says that it predicts; errors name
/// `place`.
///
/// # Errors
/// If a tensor that determines a size is missing, nobody says what it predicts, or the model needs something that
/// is not implemented.
pub(super) fn single_file_config(
    header: &Header,
    sidecar: Sidecar,
    chosen: Option<Prediction>,
    place: &Path,
) -> Result<(StableDiffusionConfig, Family), ModelError> {
    let Inferred { family, configs: [mut unet, text_encoder, vae], notes } = ldm::infer(header)?;
    let Said { prediction, note } = prediction(header, family, &sidecar, chosen)?;
    if family != Family::Sd1 && prediction == name(Prediction::VPrediction) {
        // Models that predict the velocity were trained at 768 pixels, all others at 512.
        unet["sample_size"] = json!(96);
    }
    let mut scheduler = json!({
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "clip_sample": false,
        "set_alpha_to_one": false,
    });
    if ldm::ends_in_pure_noise(header) && prediction == name(Prediction::VPrediction) {
        // Sampling has to start from there (Lin et al. 2023, arXiv 2305.08891, section 3.3).
        scheduler["rescale_betas_zero_snr"] = json!(true);
        scheduler["timestep_spacing"] = json!("trailing");
    }
    let texts = [
        (unet, sidecar.unet),
        (text_encoder, sidecar.text_encoder),
        (vae, sidecar.vae),
        (scheduler, sidecar.scheduler),
    ]
    .map(|(inferred, given)| overridden(inferred, given).to_string());
    let mut config = StableDiffusionConfig::parse(texts.each_ref().map(|text| (&text[..], place)))?;
    config.scheduler.prediction_type = Some(prediction);
    config.notes.extend(notes.into_iter().chain(note));
    Ok((config, family))
}

/// What a single file's UNet predicts, by its name in a scheduler's config.
struct Said {
    prediction: String,
    /// A sentence for the user, if nobody said so.
    note: Option<String>,
}

/// What a single file's UNet predicts. The first of these that says so decides: the user, the
/// sidecar, the file's own metadata (ModelSpec), ComfyUI's mark, and the family: all original Stable
/// Diffusion 1 models predict the noise, but those of Stable Diffusion 2 differ.
fn prediction(
    header: &Header,
    family: Family,
    sidecar: &Sidecar,
    chosen: Option<Prediction>,
) -> Result<Said, ModelError> {
    let said = |prediction| Ok(Said { prediction, note: None });
    if let Some(prediction) = chosen {
        return said(name(prediction));
    }
    if let Some(given) = sidecar.scheduler.get("prediction_type").and_then(Value::as_str) {
        return said(given.into());
    }
    match (header.metadata().get("modelspec.prediction_type").map(String::as_str), family) {
        (Some("epsilon"), _) => said(name(Prediction::Epsilon)),
        (Some("v"), _) => said(name(Prediction::VPrediction)),
        _ if ldm::predicts_velocity(header) => said(name(Prediction::VPrediction)),
        (_, Family::Sd1) => Ok(Said {
            prediction: name(Prediction::Epsilon),
            note: Some(format!(
                "{} does not say what it predicts; epsilon is taken for it, as in most Stable Diffusion 1 \
                 models (if images are mere noise, it may be v)",
                header.path().display()
            )),
        }),
        _ => Err(ModelError::UnknownPrediction { path: header.path().into() }),
    }
}

/// Diffusers' name of a prediction, which serde uses as well.
pub(super) fn name(prediction: Prediction) -> String {
    let value = serde_json::to_value(prediction).expect("a name");
    value.as_str().expect("a name").into()
}

/// The inferred config with the given keys in place of its own.
fn overridden(mut inferred: Value, given: Map<String, Value>) -> Value {
    inferred.as_object_mut().expect("configs are objects").extend(given);
    inferred
}
