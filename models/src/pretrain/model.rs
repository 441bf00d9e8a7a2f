//! The parts of a pretraining, from an empty folder to a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn_seqlora::adapter::{Part as SitePart, SiteRegistry};
use burn_seqlora::bilevel::Flow;
use burn_seqlora::diffusion::NoiseSchedule;
use burn_seqlora::error::Error;
use burn_seqlora::rng::Seed;
use burn_store::ModuleSnapshot;
use seqlora_kernels::{KernelBackend, TrainBackend};
use serde_json::json;

use super::autoencoding::{Autoencoding, Fidelity};
use super::captions::{CaptionReader, CaptionReading};
use super::card::{Card, DrawingReport, PartTraining};
use super::config::PretrainConfig;
use super::denoising::{Denoising, TextToLatents};
use super::initial::initialised;
use super::judging::{JudgeReport, Judging};
use super::places::PlaceReader;
use super::train::{Event, train};
use crate::StableDiffusionConfig;
use crate::blueprint::{Blueprint, write_json};
use crate::clip::ClipTextModel;
use crate::judge::{Judge, JudgeConfig, JudgeModel};
use crate::nn::Scope;
use crate::tokenizer::ClipTokenizer;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{
    KeyTable, ModelError, Stored, WeightFiles, load_weights, save_weights, write_checksums,
};
use crate::world::vocabulary;

/// Side of the pictures that the model is for.
pub const SIDE: usize = 64;

/// A pretraining in a folder: the model in `model/`, what is needed to go on in `training/`.
#[derive(Debug, Clone)]
pub struct Pretraining {
    /// The free choices.
    pub config: PretrainConfig,
    folder: PathBuf,
    model: StableDiffusionConfig,
    /// Whether parts start from the weights in the model's folder.
    continued: bool,
}

/// An error in pretraining.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// In the model's files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// In the training.
    #[error(transparent)]
    Training(#[from] Error),
}

impl Pretraining {
    /// Writes configs and tokenizer of the model; weights that are there already stay.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn open(folder: &Path, config: PretrainConfig) -> Result<Self, PretrainError> {
        let path = folder.join("model");
        let vae = path.join("vae/config.json");
        let trained = std::fs::read_to_string(&vae).ok();
        let mut model = blueprint().write(&path)?;
        if let Some(text) = trained {
            // The scaling factor is measured, not designed.
            std::fs::write(&vae, &text).map_err(ModelError::io(&vae))?;
            model.vae = VaeConfig::parse(&text, &vae)?;
        }
        Ok(Self { config, folder: folder.into(), model, continued: false })
    }

    /// The same with a copy of another model's weights, from which each part starts.
    ///
    /// # Errors
    /// If there are none, or the folder cannot be written.
    pub fn open_from(
        folder: &Path,
        config: PretrainConfig,
        from: &Path,
    ) -> Result<Self, PretrainError> {
        let parts = ["vae", "text_encoder", "unet", "judge"];
        let there = parts.into_iter().filter(|part| from.join(part).is_dir());
        let there: Vec<&str> = there.collect();
        if there.is_empty() {
            let error = std::io::Error::other("it holds no part of a model");
            return Err(ModelError::io(from)(error).into());
        }
        for part in there {
            copy_folder(&from.join(part), &folder.join("model").join(part))?;
        }
        Ok(Self { continued: true, ..Self::open(folder, config)? })
    }

    /// A part as training begins: with random weights, or with those it has already.
    fn begun<B: TrainBackend, M: Module<B> + ModuleSnapshot<B>>(
        &self,
        module: M,
        (part, table): (&str, KeyTable),
        seed: &Seed,
        device: &B::Device,
    ) -> Result<M, ModelError> {
        let module = initialised(module, &seed.fork("weights"), device);
        if self.continued { self.stored(module, part, table) } else { Ok(module) }
    }

    fn stored<B: KernelBackend, M: ModuleSnapshot<B>>(
        &self,
        module: M,
        part: &str,
        table: KeyTable,
    ) -> Result<M, ModelError> {
        load_weights(module, &WeightFiles::find(&self.model().join(part))?, &table.into())
    }

    /// Whether training of a part (`autoencoder`, `text-encoder`, `denoiser`, `judge`) has begun in a
    /// folder.
    pub fn has_begun(folder: &Path, part: &str) -> bool {
        folder.join("training").join(part).exists()
    }

    /// The diffusers folder.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    fn training(&self, part: &str) -> PathBuf {
        self.folder.join("training").join(part)
    }

    fn seed(&self, part: &str) -> Seed {
        Seed::new(self.config.seed).fork(part)
    }

    /// The autoencoder's task.
    pub fn autoencoding(&self) -> Autoencoding<'_> {
        Autoencoding { config: &self.config, side: SIDE, seed: self.seed("autoencoder") }
    }

    /// Trains the VAE, writes its weights in f16, and measures it; `None` if it was stopped.
    ///
    /// # Errors
    /// If the loss is no longer finite, or a file cannot be read or written.
    pub fn train_autoencoder<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, Vae<B>>) -> Flow,
    ) -> Result<Option<Fidelity>, PretrainError> {
        let task = self.autoencoding();
        let plain = VaeConfig { scaling_factor: 1.0, ..self.model.vae.clone() };
        let folder = self.training("autoencoder");
        let config = &self.config.autoencoder;
        let vae =
            self.begun(plain.init::<B>(device), ("vae", KeyTable::VAE), &task.seed, device)?;
        let vae = train(&task, vae, config, &folder, observe)?;
        let Some(vae) = vae else { return Ok(None) };
        let folder = self.model().join("vae");
        save_weights(&vae, KeyTable::VAE, Stored::F16, &folder.join(DIFFUSION_WEIGHTS))?;
        let stored = plain.init::<B::InnerBackend>(device);
        let stored = load_weights(stored, &WeightFiles::find(&folder)?, &KeyTable::VAE.into())?;
        let fidelity = task.fidelity(&stored, 16);
        let mut config = self::vae();
        config["scaling_factor"] = json!(1.0 / fidelity.latent_std);
        write_json(&folder.join("config.json"), &config)?;
        Ok(Some(fidelity))
    }

    /// Trains the text encoder on captions alone and writes its weights in f16; `false` if it was
    /// stopped.
    ///
    /// # Errors
    /// If the loss is no longer finite, or a file cannot be read or written.
    pub fn train_text_encoder<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, CaptionReader<B>>) -> Flow,
    ) -> Result<bool, PretrainError> {
        let seed = self.seed("text-encoder");
        let tokenizer = self.tokenizer()?;
        let reader = CaptionReader::<B>::new(&self.model.text_encoder, device);
        let mut reader = initialised(reader, &seed.fork("weights"), device);
        if self.continued {
            reader.text_encoder = self.stored_text_encoder(reader.text_encoder)?;
        }
        let task = CaptionReading { config: &self.config, tokenizer, seed };
        let folder = self.training("text-encoder");
        let trained = train(&task, reader, &self.config.text_encoder, &folder, observe)?;
        let Some(reader) = trained else { return Ok(false) };
        self.save_text_encoder(&reader.text_encoder)?;
        Ok(true)
    }

    /// The task of UNet and text encoder; VAE and text encoder must have been trained.
    ///
    /// # Errors
    /// If the model's folder is incomplete or damaged.
    pub fn denoising<B: TrainBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Denoising<'_, B>, PretrainError> {
        let model = StableDiffusionConfig::read(&self.model())?;
        let vae = WeightFiles::find(&self.model().join("vae"))?;
        let schedule = NoiseSchedule::new(&model.scheduler).map_err(Error::from)?;
        Ok(Denoising {
            config: &self.config,
            vae: load_weights(model.vae.init(device), &vae, &KeyTable::VAE.into())?,
            tokenizer: self.tokenizer()?,
            schedule,
            side: SIDE,
            seed: self.seed("denoiser"),
        })
    }

    fn tokenizer(&self) -> Result<ClipTokenizer, ModelError> {
        let tokenizer = ClipTokenizer::from_folder(self.model().join("tokenizer"))?;
        Ok(tokenizer.with_context_length(self.model.text_encoder.max_position_embeddings))
    }

    /// Trains UNet and text encoder and writes their weights in f16; `false` if it was stopped.
    ///
    /// # Errors
    /// If the loss is no longer finite, or a file cannot be read or written.
    pub fn train_denoiser<B: TrainBackend>(
        &self,
        task: &Denoising<'_, B>,
        device: &B::Device,
        observe: impl FnMut(Event<'_, TextToLatents<B>>) -> Flow,
    ) -> Result<bool, PretrainError> {
        let mut network =
            initialised(self.denoiser::<B>(device), &task.seed.fork("weights"), device);
        network.text_encoder = self.stored_text_encoder(network.text_encoder)?;
        if self.continued {
            network.unet = self.stored(network.unet, "unet", KeyTable::UNET)?;
        }
        let folder = self.training("denoiser");
        let trained = train(task, network, &self.config.denoiser, &folder, observe)?;
        match &trained {
            Some(model) => self.save_denoiser(model).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes UNet and text encoder to the model's folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_denoiser<B: TrainBackend>(
        &self,
        model: &TextToLatents<B>,
    ) -> Result<(), PretrainError> {
        let file = self.model().join("unet").join(DIFFUSION_WEIGHTS);
        save_weights(&model.unet, KeyTable::UNET, Stored::F16, &file)?;
        Ok(self.save_text_encoder(&model.text_encoder)?)
    }

    fn save_text_encoder<B: TrainBackend>(
        &self,
        text_encoder: &ClipTextModel<B>,
    ) -> Result<(), ModelError> {
        let file = self.model().join("text_encoder/model.safetensors");
        save_weights(text_encoder, KeyTable::CLIP_TEXT, Stored::F16, &file)
    }

    fn stored_text_encoder<B: KernelBackend>(
        &self,
        text_encoder: ClipTextModel<B>,
    ) -> Result<ClipTextModel<B>, ModelError> {
        self.stored(text_encoder, "text_encoder", KeyTable::CLIP_TEXT)
    }

    /// Trains the judge, writes it in f16, measures what is stored, and writes that beside it;
    /// `None` if it was stopped.
    ///
    /// # Errors
    /// If the loss is no longer finite, or a file cannot be read or written.
    pub fn train_judge<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, JudgeModel<B>>) -> Flow,
    ) -> Result<Option<JudgeReport>, PretrainError> {
        let (sizes, config) = (JudgeConfig::default(), &self.config.judge);
        let augmentation = &self.config.augmentation;
        let task = Judging { augmentation, side: SIDE, seed: self.seed("judge") };
        let folder = self.training("judge");
        let judge =
            self.begun(sizes.init::<B>(device), ("judge", KeyTable::VIT), &task.seed, device)?;
        let judge = train(&task, judge, config, &folder, observe)?;
        let Some(judge) = judge else { return Ok(None) };
        let folder = self.model().join("judge");
        save_weights(&judge, KeyTable::VIT, Stored::F16, &folder.join("model.safetensors"))?;
        write_json(&folder.join("config.json"), &json!(sizes))?;
        let stored = Judge::<B::InnerBackend>::load(&folder, device)?;
        let report = JudgeReport::measure(&stored, &self.seed("judge's report"), 1000, device);
        let card = json!({
            "seed": self.config.seed,
            "training": config,
            "augmentation": augmentation,
            "report": report,
        });
        write_json(&folder.join("training.json"), &card)?;
        Ok(Some(report))
    }

    /// Measures the stored model, and writes what it can do and what made it beside it, with the
    /// curves and the digests of all files.
    ///
    /// # Errors
    /// If a part is missing or damaged, or a file cannot be written.
    pub fn write_card<B: TrainBackend>(
        &self,
        captions: u64,
        device: &B::Device,
    ) -> Result<Card, PretrainError> {
        let model = self.model();
        let mut training = BTreeMap::new();
        for part in ["autoencoder", "text-encoder", "denoiser", "judge"] {
            let curve = self.training(part).join("curve.jsonl");
            training.insert(part.to_string(), PartTraining::of(&curve)?);
            let copy = model.join("curves").join(part).with_extension("jsonl");
            copy_file(&curve, &copy)?;
        }
        let plain = VaeConfig { scaling_factor: 1.0, ..self.model.vae.clone() };
        let vae = plain.init::<B::InnerBackend>(device);
        let files = WeightFiles::find(&model.join("vae"))?;
        let autoencoder =
            self.autoencoding().fidelity(&load_weights(vae, &files, &KeyTable::VAE.into())?, 16);
        let task = self.denoising::<B>(device)?;
        let judge = Judge::load(&model.join("judge"), device)?;
        let network = self.stored_denoiser::<B::InnerBackend>(device)?;
        let scheduler = &self.model.scheduler;
        let drawing = DrawingReport::measure(&task, scheduler, &network, &judge, captions)?;
        let config = self.config.clone();
        let made_by = format!("seqlora {}", env!("CARGO_PKG_VERSION"));
        let card = Card { made_by, config, training, autoencoder, drawing };
        write_json(&model.join("training.json"), &json!(card))?;
        write_checksums(&model)?;
        Ok(card)
    }

    fn stored_denoiser<B: KernelBackend>(
        &self,
        device: &B::Device,
    ) -> Result<TextToLatents<B>, PretrainError> {
        let TextToLatents { unet, text_encoder, places } = self.denoiser::<B>(device);
        Ok(TextToLatents {
            unet: self.stored(unet, "unet", KeyTable::UNET)?,
            text_encoder: self.stored_text_encoder(text_encoder)?,
            places,
        })
    }

    fn denoiser<B: KernelBackend>(&self, device: &B::Device) -> TextToLatents<B> {
        let mut sites = SiteRegistry::default();
        let mut scope = Scope::root("unet", SitePart::Denoiser, device, &mut sites);
        let unet = self.model.unet.init(&mut scope);
        let mut scope = Scope::root("text_encoder", SitePart::TextEncoder, device, &mut sites);
        let text_encoder = self.model.text_encoder.init(&mut scope);
        let places = PlaceReader::new(self.model.unet.middle_width(), device);
        TextToLatents { unet, text_encoder, places }
    }
}

/// Copies a folder's files.
fn copy_folder(from: &Path, to: &Path) -> Result<(), ModelError> {
    for entry in std::fs::read_dir(from).map_err(ModelError::io(from))? {
        let file = entry.map_err(ModelError::io(from))?.path();
        if let Some(name) = file.file_name().filter(|_| file.is_file()) {
            copy_file(&file, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), ModelError> {
    let folder = to.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    std::fs::copy(from, to).map(drop).map_err(ModelError::io(to))
}

const DIFFUSION_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Stable Diffusion's architecture at a size for two cores: pictures of 64², latents of 16², two
/// levels, the coarse one with attention. Text and cross-attention are 256 wide, so that 101
/// concepts fit there at rank 2.
///
/// The noise follows a cosine (Nichol & Dhariwal 2021, arXiv 2102.09672): Stable Diffusion's own
/// leaves so little of latents this small that most timesteps would teach nothing.
fn blueprint() -> Blueprint {
    let unet = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": SIDE / 4,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": [64, 128],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 4],
        "cross_attention_dim": 256,
        "norm_num_groups": 16,
    });
    let text_encoder = json!({
        "model_type": "clip_text_model",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 40,
    });
    let scheduler =
        json!({ "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction" });
    Blueprint { unet, text_encoder, vae: vae(), scheduler, words: vocabulary() }
}

const LATENT_CHANNELS: usize = 8;

fn vae() -> serde_json::Value {
    json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [16, 32, 64],
        "down_block_types": vec!["DownEncoderBlock2D"; 3],
        "up_block_types": vec!["UpDecoderBlock2D"; 3],
        "layers_per_block": 1,
        "latent_channels": LATENT_CHANNELS,
        "norm_num_groups": 8,
        "sample_size": SIDE,
        "scaling_factor": 1.0,
    })
}
