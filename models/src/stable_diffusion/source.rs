//! The files of a model: a diffusers folder, or a single file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use seqlora_core::diffusion::Prediction;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::StableDiffusionConfig;
use crate::weights::ldm;
use crate::weights::ldm::{Family, Header};
use crate::weights::{KeyLayout, KeyTable, ModelError, WeightFiles, fingerprint};

/// A model that has been found and whose configs have been checked, but whose weights are not loaded.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The configs of its parts.
    pub config: StableDiffusionConfig,
    /// The folder of its tokenizer.
    pub tokenizer: PathBuf,
    pub(crate) unet: ComponentFiles,
    pub(crate) text_encoder: ComponentFiles,
    pub(crate) vae: ComponentFiles,
}

/// The weight files of one component, and how its parameters are named in them.
#[derive(Debug, Clone)]
pub(crate) struct ComponentFiles {
    pub(crate) files: WeightFiles,
    pub(crate) layout: KeyLayout,
}

/// What the user specifies about a model. It overrides what the model's files say.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// The tokenizer's folder. Default: `tokenizer` in the model's folder, or next to its file.
    pub tokenizer: Option<PathBuf>,
    /// What the UNet predicts.
    pub prediction: Option<Prediction>,
}

/// `NAME.config.json` next to `NAME.safetensors`: keys of diffusers' configs that the shapes of the
/// weights do not determine, or that override what they suggest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sidecar {
    unet: Map<String, Value>,
    text_encoder: Map<String, Value>,
    vae: Map<String, Value>,
    scheduler: Map<String, Value>,
}

impl ModelSource {
    /// Finds the parts of a model: a diffusers folder, or a single file in the original layout.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the model needs something that is not implemented.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        if path.is_file() { Self::file(path, options) } else { Self::folder(path, options) }
    }

    fn folder(folder: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let mut config = StableDiffusionConfig::read(folder)?;
        if let Some(prediction) = options.prediction {
            config.scheduler.prediction_type = Some(name(prediction));
        }
        let files = |component: &str, table: KeyTable| -> Result<ComponentFiles, ModelError> {
            let files = WeightFiles::find(&folder.join(component))?;
            Ok(ComponentFiles { files, layout: table.into() })
        };
        Ok(Self {
            config,
            unet: files("unet", KeyTable::UNET)?,
            text_encoder: files("text_encoder", KeyTable::CLIP_TEXT)?,
            vae: files("vae", KeyTable::VAE)?,
            tokenizer: options.tokenizer.clone().unwrap_or(folder.join("tokenizer")),
        })
    }

    fn file(file: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let pickles = ["ckpt", "pt", "pth", "bin"];
        if file.extension().and_then(OsStr::to_str).is_some_and(|end| pickles.contains(&end)) {
            return Err(ModelError::Pickle { path: file.into() });
        }
        let header = Header::read(file)?;
        let (family, [mut unet, text_encoder, vae]) = ldm::infer(&header)?;
        let sidecar = Sidecar::of(file)?;
        let prediction = prediction(&header, family, &sidecar, options)?;
        if family != Family::Sd1 && prediction == name(Prediction::VPrediction) {
            // Models that predict the velocity were trained at 768 pixels, all others at 512.
            unet["sample_size"] = json!(96);
        }
        let scheduler = json!({
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
            "clip_sample": false,
            "set_alpha_to_one": false,
        });
        let texts = [
            (unet, sidecar.unet),
            (text_encoder, sidecar.text_encoder),
            (vae, sidecar.vae),
            (scheduler, sidecar.scheduler),
        ]
        .map(|(inferred, given)| overridden(inferred, given).to_string());
        let mut config =
            StableDiffusionConfig::parse(texts.each_ref().map(|text| (&text[..], file)))?;
        config.scheduler.prediction_type = Some(prediction);

        let layers = config.text_encoder.num_hidden_layers;
        let component = |renaming, table| ComponentFiles {
            files: WeightFiles { folder: file.into(), shards: vec![file.into()] },
            layout: KeyLayout::single_file(renaming, table),
        };
        Ok(Self {
            unet: component(ldm::unet(&config.unet), KeyTable::UNET),
            text_encoder: component(ldm::text_encoder(family, layers), KeyTable::CLIP_TEXT),
            vae: component(ldm::vae(&config.vae), KeyTable::VAE),
            tokenizer: match &options.tokenizer {
                Some(folder) => folder.clone(),
                None => tokenizer_next_to(file)?,
            },
            config,
        })
    }

    /// A digest of the model's weight files: 32 hexadecimal digits. The same weights in other files
    /// have another digest.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, ModelError> {
        let parts = [&self.text_encoder, &self.unet, &self.vae];
        let mut files: Vec<PathBuf> =
            parts.iter().flat_map(|part| part.files.shards.iter().cloned()).collect();
        files.dedup();
        fingerprint(&files)
    }
}

impl Sidecar {
    /// The config next to a weight file; empty if there is none.
    fn of(file: &Path) -> Result<Self, ModelError> {
        let path = file.with_extension("config.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        serde_json::from_str(&text).map_err(|e| ModelError::config(&path, e))
    }
}

/// What a single file's UNet predicts, by its name in a scheduler's config. The first of these that
/// says so decides: the user's options, the sidecar, the file's own metadata (ModelSpec), and the
/// family if all its models predict the same.
fn prediction(
    header: &Header,
    family: Family,
    sidecar: &Sidecar,
    options: &SourceOptions,
) -> Result<String, ModelError> {
    if let Some(prediction) = options.prediction {
        return Ok(name(prediction));
    }
    if let Some(given) = sidecar.scheduler.get("prediction_type").and_then(Value::as_str) {
        return Ok(given.into());
    }
    match (header.metadata("modelspec.prediction_type"), family) {
        (Some("epsilon"), _) => Ok(name(Prediction::Epsilon)),
        (Some("v"), _) => Ok(name(Prediction::VPrediction)),
        (_, Family::Sd1) => Ok(name(Prediction::Epsilon)),
        _ => Err(ModelError::UnknownPrediction { path: header.path().into() }),
    }
}

/// Diffusers' name of a prediction, which serde uses as well.
fn name(prediction: Prediction) -> String {
    let value = serde_json::to_value(prediction).expect("a name");
    value.as_str().expect("a name").into()
}

/// The inferred config with the given keys in place of its own.
fn overridden(mut inferred: Value, given: Map<String, Value>) -> Value {
    inferred.as_object_mut().expect("configs are objects").extend(given);
    inferred
}

fn tokenizer_next_to(file: &Path) -> Result<PathBuf, ModelError> {
    let folder = file.with_file_name("tokenizer");
    if folder.is_dir() { Ok(folder) } else { Err(ModelError::NoTokenizer { folder }) }
}
