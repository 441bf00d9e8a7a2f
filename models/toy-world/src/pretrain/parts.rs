//! Training of each part of the model. Each writes its weights to the model's folder.

use seqlora_core::diffusion::NoiseSchedule;
use seqlora_core::error::Error;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::train::Flow;
use seqlora_files::sha256_of_file;
use seqlora_kernels::{KernelBackend, TrainBackend};
use serde_json::json;

use super::autoencoding::{Autoencoding, Fidelity};
use super::classification::{Classification, ClassifierReport};
use super::denoising::{Denoising, TextToLatents};
use super::design;
use super::design::SIDE;
use super::folder::{DIFFUSION_WEIGHTS, PretrainError, Pretraining};
use super::grounding::{CaptionGrounding, GroundingModel};
use super::initial::initialised;
use super::scene_latents::SceneLatents;
use super::train::{Event, train};
use crate::classifier::{Classifier, ClassifierConfig, ClassifierModel};
use seqlora_models::StableDiffusionConfig;
use seqlora_models::blueprint::write_json;
use seqlora_models::vae::{Vae, VaeConfig};
use seqlora_models::weights::{
    KeyTable, ModelError, Stored, WeightFiles, load_weights, save_weights,
};

/// Scenes of a report on the classifier.
const REPORTED: u64 = 1000;

impl Pretraining {
    /// The task of the autoencoder.
    pub fn autoencoding(&self) -> Autoencoding<'_> {
        Autoencoding { config: &self.config, side: SIDE, seed: self.seed("autoencoder") }
    }

    /// Trains the VAE, writes its weights in f16 and measures them. Returns `None` if `observe`
    /// stopped the training.
    ///
    /// # Errors
    /// If the loss or its gradient is not finite, or a file cannot be read or written.
    pub fn train_autoencoder<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, Vae<B>>) -> Flow,
    ) -> Result<Option<Fidelity>, PretrainError> {
        let task = self.autoencoding();
        let plain = VaeConfig { scaling_factor: 1.0, ..self.design.vae.clone() };
        let folder = self.training("autoencoder");
        let config = &self.config.autoencoder;
        let vae =
            self.initial(plain.init::<B>(device), ("vae", KeyTable::VAE), &task.seed, device)?;
        let vae = train(&task, vae, config, &folder, observe)?;
        let Some(vae) = vae else { return Ok(None) };
        let folder = self.model().join("vae");
        save_weights(&vae, KeyTable::VAE, Stored::F16, &folder.join(DIFFUSION_WEIGHTS))?;
        let fidelity = task.fidelity(&self.stored_vae::<B::InnerBackend>(device)?, 16);
        let mut config = design::vae();
        config["scaling_factor"] = json!(1.0 / fidelity.latent_std);
        write_json(&folder.join("config.json"), &config)?;
        Ok(Some(fidelity))
    }

    /// The VAE in the model's folder, with a scaling factor of 1.
    pub(super) fn stored_vae<B: KernelBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Vae<B>, ModelError> {
        let plain = VaeConfig { scaling_factor: 1.0, ..self.design.vae.clone() };
        self.stored(plain.init::<B>(device), "vae", KeyTable::VAE)
    }

    /// The classifier in the model's folder on reconstructions by the VAE there, of the same renders as in
    /// its own report; `None` if one of them is not there yet.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn measure_reconstructions<B: KernelBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Option<ClassifierReport>, PretrainError> {
        let there = |part: &str| WeightFiles::find(&self.model().join(part)).is_ok();
        if !(there("vae") && there("classifier")) {
            return Ok(None);
        }
        let classifier = Classifier::<B>::load(&self.model().join("classifier"), device)?;
        Ok(Some(self.reconstructions(&classifier, &self.stored_vae(device)?, device)))
    }

    pub(super) fn reconstructions<B: KernelBackend>(
        &self,
        classifier: &Classifier<B>,
        vae: &Vae<B>,
        device: &B::Device,
    ) -> ClassifierReport {
        let view = |renders| vae.decode_latents(vae.encode_image(renders).mean).clamp(-1.0, 1.0);
        ClassifierReport::measure(classifier, &self.seed("judge's report"), REPORTED, view, device)
    }

    /// Trains the text encoder on captions alone and writes its weights in f16. Returns `false` if
    /// `observe` stopped the training.
    ///
    /// # Errors
    /// If the loss or its gradient is not finite, or a file cannot be read or written.
    pub fn train_text_encoder<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, GroundingModel<B>>) -> Flow,
    ) -> Result<bool, PretrainError> {
        let seed = self.seed("text-encoder");
        let tokenizer = self.tokenizer()?;
        let model = GroundingModel::<B>::new(&self.design.text_encoder, device);
        let mut model = initialised(model, &seed.fork("weights"), device);
        if self.fine_tuned {
            model.text_encoder = self.stored_text_encoder(model.text_encoder)?;
        }
        let task = CaptionGrounding { config: &self.config, tokenizer, seed };
        let folder = self.training("text-encoder");
        let trained = train(&task, model, &self.config.text_encoder, &folder, observe)?;
        let Some(model) = trained else { return Ok(false) };
        self.save_text_encoder(&model.text_encoder)?;
        Ok(true)
    }

    /// The task of the denoiser, which needs the weights of the VAE and the text encoder.
    ///
    /// # Errors
    /// If one of them is missing or damaged.
    pub fn denoising<B: TrainBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Denoising<'_, B>, PretrainError> {
        for (folder, part) in [("vae", "autoencoder"), ("text_encoder", "text-encoder")] {
            if WeightFiles::find(&self.model().join(folder)).is_err() {
                return Err(self.missing(part));
            }
        }
        let model = StableDiffusionConfig::read(&self.model())?;
        let vae = WeightFiles::find(&self.model().join("vae"))?;
        let vae = load_weights(model.vae.init(device), &vae, &KeyTable::VAE.into())?;
        let schedule = NoiseSchedule::new(&model.scheduler).map_err(Error::from)?;
        Ok(Denoising {
            config: &self.config,
            latents: SceneLatents::new(vae, SIDE),
            tokenizer: self.tokenizer()?,
            schedule,
            seed: self.seed("denoiser"),
        })
    }

    /// The same with the latents of scenes kept in the folder of the denoiser's training.
    ///
    /// # Errors
    /// If a part is missing or damaged, or the folder cannot be written.
    pub fn denoising_with_cache<B: TrainBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Denoising<'_, B>, PretrainError> {
        let task = self.denoising::<B>(device)?;
        let vae = self.model().join("vae").join(DIFFUSION_WEIGHTS);
        let identity = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "seed": self.config.seed,
            "pair_probability": self.config.pair_probability,
            "vae": sha256_of_file(&vae)?,
        });
        let latents = task.latents.with_cache(&self.training("denoiser"), &identity)?;
        Ok(Denoising { latents, ..task })
    }

    /// Trains the UNet and the text encoder and writes their weights in f16. Returns `false` if
    /// `observe` stopped the training.
    ///
    /// # Errors
    /// If the loss or its gradient is not finite, or a file cannot be read or written.
    pub fn train_denoiser<B: TrainBackend>(
        &self,
        task: &Denoising<'_, B>,
        device: &B::Device,
        observe: impl FnMut(Event<'_, TextToLatents<B>>) -> Flow,
    ) -> Result<bool, PretrainError> {
        let mut network =
            initialised(self.denoiser::<B>(device), &task.seed.fork("weights"), device);
        network.text_encoder = self.stored_text_encoder(network.text_encoder)?;
        if self.fine_tuned {
            network.unet = self.stored(network.unet, "unet", KeyTable::UNET)?;
        }
        let folder = self.training("denoiser");
        let trained = train(task, network, &self.config.denoiser, &folder, observe)?;
        match &trained {
            Some(model) => self.save_denoiser(model).map(|()| true),
            None => Ok(false),
        }
    }

    /// Trains the classifier, writes its weights in f16, measures them and writes the report to
    /// `training.json` next to them. Returns `None` if `observe` stopped the training.
    ///
    /// # Errors
    /// If the loss or its gradient is not finite, or a file cannot be read or written.
    pub fn train_classifier<B: TrainBackend>(
        &self,
        device: &B::Device,
        observe: impl FnMut(Event<'_, ClassifierModel<B>>) -> Flow,
    ) -> Result<Option<ClassifierReport>, PretrainError> {
        let (sizes, config) = (ClassifierConfig::default(), &self.config.classifier);
        let augmentation = &self.config.augmentation;
        let task = Classification { augmentation, side: SIDE, seed: self.seed("judge") };
        let folder = self.training("classifier");
        let classifier = self.initial(
            sizes.init::<B>(device),
            ("classifier", KeyTable::VIT),
            &task.seed,
            device,
        )?;
        let classifier = train(&task, classifier, config, &folder, observe)?;
        let Some(classifier) = classifier else { return Ok(None) };
        let folder = self.model().join("classifier");
        save_weights(&classifier, KeyTable::VIT, Stored::F16, &folder.join("model.safetensors"))?;
        write_json(&folder.join("config.json"), &json!(sizes))?;
        let stored = Classifier::<B::InnerBackend>::load(&folder, device)?;
        let seed = self.seed("judge's report");
        let report = ClassifierReport::measure(&stored, &seed, REPORTED, |renders| renders, device);
        let card = json!({
            "seed": self.config.seed,
            "training": config,
            "augmentation": augmentation,
            "report": report,
        });
        write_json(&folder.join("training.json"), &card)?;
        Ok(Some(report))
    }
}
