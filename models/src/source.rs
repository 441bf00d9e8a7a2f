//! Where everything that a model consists of lies: in a diffusers folder, or in one file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use seqlora_core::diffusion::Prediction;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::StableDiffusionConfig;
use crate::weights::ldm;
use crate::weights::ldm::{Family, Header};
use crate::weights::{KeyTable, Layout, ModelError, WeightFiles, fingerprint};

/// A model before it is loaded.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The sizes of its parts.
    pub config: StableDiffusionConfig,
    /// The folder with its tokenizer.
    pub tokenizer: PathBuf,
    pub(crate) unet: Stored,
    pub(crate) text_encoder: Stored,
    pub(crate) vae: Stored,
}

/// The files of one component, and the names in them.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) files: WeightFiles,
    pub(crate) layout: Layout,
}

/// What the user says about a model; it wins over what its files say.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// A tokenizer folder. Default: `tokenizer` in the model's folder, or beside its file.
    pub tokenizer: Option<PathBuf>,
    /// What the UNet predicts.
    pub prediction: Option<Prediction>,
}

/// `NAME.config.json` beside `NAME.safetensors`: keys of diffusers' configs, for what shapes do not
/// tell or what is unusual.
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
    /// If something is missing, damaged, or not implemented.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        if path.is_file() { Self::file(path, options) } else { Self::folder(path, options) }
    }

    fn folder(folder: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let mut config = StableDiffusionConfig::read(folder)?;
        if let Some(prediction) = options.prediction {
            config.scheduler.prediction_type = Some(name(prediction));
        }
        let stored = |component: &str, table: KeyTable| -> Result<Stored, ModelError> {
            let files = WeightFiles::find(&folder.join(component))?;
            Ok(Stored { files, layout: table.into() })
        };
        Ok(Self {
            config,
            unet: stored("unet", KeyTable::UNET)?,
            text_encoder: stored("text_encoder", KeyTable::CLIP_TEXT)?,
            vae: stored("vae", KeyTable::VAE)?,
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
        let sidecar = Sidecar::beside(file)?;
        let prediction = prediction(&header, family, &sidecar, options)?;
        if family != Family::Sd1 && prediction == name(Prediction::VPrediction) {
            // These were made for 768 pixels, all others for 512.
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
        .map(|(inferred, given)| laid_over(inferred, given).to_string());
        let mut config =
            StableDiffusionConfig::parse(texts.each_ref().map(|text| (&text[..], file)))?;
        config.scheduler.prediction_type = Some(prediction);

        let layers = config.text_encoder.num_hidden_layers;
        let stored = |renaming, table| Stored {
            files: WeightFiles { folder: file.into(), shards: vec![file.into()] },
            layout: Layout::single_file(renaming, table),
        };
        Ok(Self {
            unet: stored(ldm::unet(&config.unet), KeyTable::UNET),
            text_encoder: stored(ldm::text_encoder(family, layers), KeyTable::CLIP_TEXT),
            vae: stored(ldm::vae(&config.vae), KeyTable::VAE),
            tokenizer: match &options.tokenizer {
                Some(folder) => folder.clone(),
                None => tokenizer_beside(file)?,
            },
            config,
        })
    }

    /// A digest of the files with the model's weights. The same weights in another form have
    /// another one.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn fingerprint(&self) -> Result<String, ModelError> {
        let parts = [&self.text_encoder, &self.unet, &self.vae];
        let mut files: Vec<PathBuf> =
            parts.iter().flat_map(|part| part.files.shards.iter().cloned()).collect();
        files.dedup();
        fingerprint(&files)
    }
}

impl Sidecar {
    fn beside(file: &Path) -> Result<Self, ModelError> {
        let path = file.with_extension("config.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        serde_json::from_str(&text).map_err(|e| ModelError::config(&path, e))
    }
}

/// The name in a scheduler's config of what a single file's UNet predicts: as the user says, else
/// the sidecar, else the file's own metadata (ModelSpec), else what all of its family predict.
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

/// Diffusers' name of a prediction, which is serde's.
fn name(prediction: Prediction) -> String {
    let value = serde_json::to_value(prediction).expect("a name");
    value.as_str().expect("a name").into()
}

fn laid_over(mut inferred: Value, given: Map<String, Value>) -> Value {
    inferred.as_object_mut().expect("configs are objects").extend(given);
    inferred
}

fn tokenizer_beside(file: &Path) -> Result<PathBuf, ModelError> {
    let folder = file.with_file_name("tokenizer");
    if folder.is_dir() { Ok(folder) } else { Err(ModelError::NoTokenizer { folder }) }
}
