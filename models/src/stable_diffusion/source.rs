//! The files of a model: a diffusers folder, or a single file.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::backend::Backend;
use seqlora_core::diffusion::Prediction;
use seqlora_core::precision::Precision;
use seqlora_files::parse_object;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::StableDiffusionConfig;
use crate::tokenizer::ClipTokenizer;
use crate::vae::VaeConfig;
use crate::weights::ldm;
use crate::weights::ldm::{Family, Inferred};
use crate::weights::{
    CheckedWeights, Header, KeyLayout, KeyTable, ModelError, Variant, WeightFiles, fingerprint,
    read_config,
};

/// A model that has been found and whose configs have been checked, but whose weights are not loaded.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The configs of its parts.
    pub config: StableDiffusionConfig,
    /// The folder, if it is one.
    pub(super) folder: Option<PathBuf>,
    tokenizer: PathBuf,
    pub(crate) unet: ComponentFiles,
    pub(crate) text_encoder: ComponentFiles,
    pub(crate) vae: ComponentFiles,
    /// The model's own VAE, if another one is used.
    pub(super) replaced_vae: Option<ComponentFiles>,
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
    /// Which weights are used where a folder has several copies of them.
    pub variant: Variant,
    /// The folder of another VAE in diffusers' layout, in place of the model's own. Concepts do not depend on it.
    pub vae: Option<PathBuf>,
}

/// `NAME.config.json` next to `NAME.safetensors` or `NAME.ckpt`: keys of diffusers' configs that the shapes of the
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
        let source =
            if path.is_file() { Self::file(path, options) } else { Self::folder(path, options) }?;
        match &options.vae {
            Some(folder) => source.with_vae(folder, options.variant),
            None => Ok(source),
        }
    }

    /// # Errors
    /// If the VAE is missing or damaged, or has other latents.
    fn with_vae(mut self, folder: &Path, variant: Variant) -> Result<Self, ModelError> {
        let file = folder.join("config.json");
        let vae = VaeConfig::parse(&read_config(&file)?, &file)?;
        let own = &self.config.vae;
        if [vae.latent_channels, vae.downscale()] != [own.latent_channels, own.downscale()] {
            let reason = format!(
                "its latents have {} channels and {} pixels a side each, those of the model {} and {}",
                vae.latent_channels,
                vae.downscale(),
                own.latent_channels,
                own.downscale()
            );
            return Err(ModelError::config(&file, reason));
        }
        self.config.vae = vae;
        let files = WeightFiles::find_variant(folder, variant)?;
        let other = ComponentFiles { files, layout: KeyTable::VAE.into() };
        self.replaced_vae = Some(std::mem::replace(&mut self.vae, other));
        Ok(self)
    }

    fn folder(folder: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let mut config = StableDiffusionConfig::read(folder)?;
        if let Some(prediction) = options.prediction {
            config.scheduler.prediction_type = Some(name(prediction));
        }
        let files = |component: &str, table: KeyTable| -> Result<ComponentFiles, ModelError> {
            let files = WeightFiles::find_variant(&folder.join(component), options.variant)?;
            Ok(ComponentFiles { files, layout: table.into() })
        };
        Ok(Self {
            config,
            folder: Some(folder.into()),
            unet: files("unet", KeyTable::UNET)?,
            text_encoder: files("text_encoder", KeyTable::CLIP_TEXT)?,
            vae: files("vae", KeyTable::VAE)?,
            replaced_vae: None,
            tokenizer: options.tokenizer.clone().unwrap_or(folder.join("tokenizer")),
        })
    }

    fn file(file: &Path, options: &SourceOptions) -> Result<Self, ModelError> {
        let header = Header::read(file)?;
        let Inferred { family, configs: [mut unet, text_encoder, vae], notes } =
            ldm::infer(&header)?;
        let sidecar = Sidecar::of(file)?;
        let Said { prediction, note } = prediction(&header, family, &sidecar, options)?;
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
        if ldm::ends_in_pure_noise(&header) && prediction == name(Prediction::VPrediction) {
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
        // Errors are in the one or the other.
        let place = sidecar_of(file).map(|sidecar| both(file, &sidecar));
        let place = place.as_deref().unwrap_or(file);
        let mut config =
            StableDiffusionConfig::parse(texts.each_ref().map(|text| (&text[..], place)))?;
        config.scheduler.prediction_type = Some(prediction);
        config.notes.extend(notes.into_iter().chain(note));

        let layers = config.text_encoder.num_hidden_layers;
        let component = |renaming, table| ComponentFiles {
            files: WeightFiles { folder: file.into(), shards: vec![file.into()] },
            layout: KeyLayout::single_file(renaming, table),
        };
        Ok(Self {
            folder: None,
            unet: component(ldm::unet(&config.unet), KeyTable::UNET),
            text_encoder: component(ldm::text_encoder(family, layers), KeyTable::CLIP_TEXT),
            vae: component(ldm::vae(&config.vae), KeyTable::VAE),
            replaced_vae: None,
            tokenizer: match &options.tokenizer {
                Some(folder) => folder.clone(),
                None => tokenizer_next_to(file)?,
            },
            config,
        })
    }

    /// Reads its tokenizer, for the length of its text encoder's context.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a token has an id for which there is no embedding.
    pub fn tokenizer(&self) -> Result<ClipTokenizer, ModelError> {
        let tokenizer = ClipTokenizer::from_folder(&self.tokenizer)?;
        let (id, token) = tokenizer.highest();
        let embeddings = self.config.text_encoder.vocab_size;
        if id as usize >= embeddings {
            let (tokenizer, token) = (self.tokenizer.clone(), token.to_string());
            return Err(ModelError::Vocabulary { tokenizer, token, id, embeddings });
        }
        Ok(tokenizer.with_context_length(self.config.text_encoder.max_position_embeddings))
    }

    /// A digest of the model's own weight files: 32 hexadecimal digits. The same weights in other files
    /// have another digest.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, ModelError> {
        let vae = self.replaced_vae.as_ref().unwrap_or(&self.vae);
        let parts = [&self.text_encoder, &self.unet, vae];
        let mut files: Vec<PathBuf> =
            parts.iter().flat_map(|part| part.files.shards.iter().cloned()).collect();
        files.dedup();
        fingerprint(&files)
    }

    /// The bytes of the loaded weights, by the headers of their files. The VAE computes in f32.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn weight_bytes(&self, precision: Precision) -> Result<usize, ModelError> {
        let numbers = self.unet.numbers()?.saturating_add(self.text_encoder.numbers()?);
        let vae = self.vae.numbers()?.saturating_mul(Precision::F32.bytes());
        Ok(numbers.saturating_mul(precision.bytes()).saturating_add(vae))
    }
}

impl ComponentFiles {
    /// How many numbers its parameters have.
    fn numbers(&self) -> Result<usize, ModelError> {
        let mut numbers = 0_usize;
        for shard in &self.files.shards {
            let header = Header::read(shard)?;
            let own = header.tensors().iter().filter(|(key, _)| self.layout.ours(key).is_some());
            numbers += own.map(|(_, tensor)| tensor.shape.iter().product::<usize>()).sum::<usize>();
        }
        Ok(numbers)
    }

    /// Compares the files with the parameters of a module.
    ///
    /// # Errors
    /// Those of [`CheckedWeights::of`].
    pub(crate) fn check<B: Backend, M: Module<B>>(
        &self,
        module: &M,
    ) -> Result<CheckedWeights<B, M>, ModelError> {
        CheckedWeights::of(module, &self.files, &self.layout)
    }
}

impl Sidecar {
    /// The config next to a weight file; empty if there is none.
    fn of(file: &Path) -> Result<Self, ModelError> {
        let Some(path) = sidecar_of(file) else { return Ok(Self::default()) };
        parse_object(&read_config(&path)?).map_err(|reason| ModelError::config(&path, reason))
    }
}

/// The config next to a weight file, if there is one.
fn sidecar_of(file: &Path) -> Option<PathBuf> {
    Some(file.with_extension("config.json")).filter(|path| path.exists())
}

/// A name for both files, to be read by people.
fn both(file: &Path, sidecar: &Path) -> PathBuf {
    let sidecar = sidecar.file_name().unwrap_or_default().display();
    format!("{} with {sidecar}", file.display()).into()
}

/// What a single file's UNet predicts, by its name in a scheduler's config.
struct Said {
    prediction: String,
    /// A sentence for the user, if nobody said so.
    note: Option<String>,
}

/// What a single file's UNet predicts. The first of these that says so decides: the user's options, the
/// sidecar, the file's own metadata (ModelSpec), ComfyUI's mark, and the family: all original Stable
/// Diffusion 1 models predict the noise, but those of Stable Diffusion 2 differ.
fn prediction(
    header: &Header,
    family: Family,
    sidecar: &Sidecar,
    options: &SourceOptions,
) -> Result<Said, ModelError> {
    let said = |prediction| Ok(Said { prediction, note: None });
    if let Some(prediction) = options.prediction {
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
