//! The settings of pretraining. The defaults are those for the built-in model.

use seqlora_core::check::{at_least_one, not_negative};
use seqlora_core::error::{Error, Result};
use seqlora_core::precision::Precision;
use serde::{Deserialize, Serialize};

use super::classification::augment::Augmentation;

/// The settings of all parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Seed of scenes, noise, timesteps and initial weights.
    pub seed: u64,
    /// Precision in which the UNet and the text encoder compute, f32 or bf16. All weights are kept
    /// in f32, and the VAE and the classifier are trained in f32.
    pub precision: Precision,
    /// Probability that a scene has two objects, 0 to 1. The classifier's scenes do not depend on
    /// it.
    pub pair_probability: f64,
    /// Probability that an image of the autoencoder shows an individual, 0 to 1. The denoiser sees
    /// no individuals.
    pub individual_probability: f64,
    /// The number of different scenes that the denoiser is trained on. Their latents are kept on disk, 8 kB
    /// each.
    pub scenes: u64,
    /// Weight of the KL divergence of the latents from a standard normal distribution, as a mean
    /// over the elements of the latents.
    pub kl_weight: f64,
    /// Weight of the error of differences between neighbouring pixels.
    pub edge_weight: f64,
    /// Weight of the scale equivariance loss: the reconstruction error of images at half the
    /// resolution, decoded from latents at half the resolution.
    pub equivariance_weight: f64,
    /// Exponent p of the density of timesteps, which is proportional to t^p. 0 is uniform, and
    /// larger values favour noisy timesteps.
    pub timestep_power: f64,
    /// Weight of the denoising error where objects are, relative to the background.
    pub object_weight: f64,
    /// Weight of the auxiliary loss on spatial labels, on the coarsest features of the denoiser.
    pub auxiliary_weight: f64,
    /// Probability that a caption is replaced by the empty one, for classifier-free guidance, 0 to
    /// 1.
    pub caption_dropout: f64,
    /// Probability that a part of a minibatch has two objects in each scene and a prompt for each half of
    /// the image, 0 to 1. Without it a box with a prompt of its own often stays empty: a model that has seen
    /// prompts for whole images only takes the object in the other box for the one that it is asked for.
    pub halves_probability: f64,
    /// Training of the VAE.
    pub autoencoder: TaskConfig,
    /// Training of the text encoder on captions alone.
    pub text_encoder: TaskConfig,
    /// Joint training of the UNet and the text encoder.
    pub denoiser: TaskConfig,
    /// Training of the classifier.
    pub classifier: TaskConfig,
    /// Augmentation of the classifier's training images.
    pub augmentation: Augmentation,
}

/// The settings of one training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskConfig {
    /// Number of steps.
    pub steps: usize,
    /// Samples per minibatch.
    pub batch: usize,
    /// The number of parts of a minibatch that are computed in parallel, each on its own share of
    /// the cores. Noise is drawn per part, so the number changes the result.
    pub shards: usize,
    /// The peak learning rate.
    pub lr: f64,
    /// Steps in which the learning rate rises linearly from zero.
    pub warmup: usize,
    /// The share of the steps, 0 to 1, over which the learning rate falls linearly at the end. Before that it
    /// stays at its peak, so that a training whose number of steps grows is as if it had always been larger.
    pub cooldown: f64,
    /// The final learning rate divided by the peak one.
    pub final_lr_ratio: f64,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// Weight decay of all parameters but vectors, as in AdamW.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm where its norm is larger.
    pub max_gradient_norm: f64,
    /// Decay per step of the exponential moving average (EMA) of the weights.
    pub ema_decay: f64,
    /// Steps between saved states.
    pub save_every: usize,
    /// Steps between previews, which only the autoencoder and the denoiser have; a training of fewer steps has none.
    pub preview_every: usize,
}

/// The optimiser of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW for all parameters.
    AdamW,
    /// Muon for matrices and convolution kernels, with steps of the same root mean square as
    /// AdamW's, and AdamW for the other parameters.
    Muon,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            precision: Precision::F32,
            pair_probability: 0.6,
            individual_probability: 0.3,
            scenes: 65_536,
            kl_weight: 1e-3,
            edge_weight: 0.5,
            equivariance_weight: 0.25,
            timestep_power: 1.0,
            object_weight: 3.0,
            auxiliary_weight: 0.1,
            caption_dropout: 0.1,
            halves_probability: 0.1,
            autoencoder: TaskConfig {
                steps: 2500,
                batch: 4,
                lr: 2e-3,
                ema_decay: 0.998,
                optimizer: OptimizerKind::Muon,
                ..TaskConfig::default()
            },
            text_encoder: TaskConfig { steps: 2500, batch: 48, ..TaskConfig::default() },
            denoiser: TaskConfig {
                steps: 10_000,
                batch: 32,
                lr: 1.5e-3,
                optimizer: OptimizerKind::Muon,
                ..TaskConfig::default()
            },
            classifier: TaskConfig {
                steps: 4000,
                lr: 1.5e-3,
                warmup: 100,
                weight_decay: 0.02,
                ema_decay: 0.998,
                optimizer: OptimizerKind::Muon,
                ..TaskConfig::default()
            },
            augmentation: Augmentation::default(),
        }
    }
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            steps: 8000,
            batch: 32,
            shards: 2,
            lr: 1e-3,
            warmup: 200,
            cooldown: 0.4,
            final_lr_ratio: 0.02,
            optimizer: OptimizerKind::AdamW,
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            ema_decay: 0.999,
            save_every: 250,
            preview_every: 500,
        }
    }
}

impl PretrainConfig {
    /// Checks that all values are in their ranges.
    ///
    /// # Errors
    /// Names the first setting that is not, with its value.
    pub fn validate(&self) -> Result<()> {
        if self.precision == Precision::F16 {
            let text = "pretraining computes in f32 or bf16: small gradients would be 0 in f16";
            return Err(Error::Invalid(text.into()));
        }
        let probabilities = [
            ("pair_probability", self.pair_probability),
            ("individual_probability", self.individual_probability),
            ("caption_dropout", self.caption_dropout),
            ("halves_probability", self.halves_probability),
            ("autoencoder.cooldown", self.autoencoder.cooldown),
            ("text_encoder.cooldown", self.text_encoder.cooldown),
            ("denoiser.cooldown", self.denoiser.cooldown),
            ("classifier.cooldown", self.classifier.cooldown),
        ];
        if let Some((name, value)) = probabilities.iter().find(|(_, p)| !(0.0..=1.0).contains(p)) {
            return Err(Error::Invalid(format!("`{name}` is {value}; it must be from 0 to 1")));
        }
        if self.scenes == 0 {
            return Err(Error::Invalid("`scenes` is 0; it must be at least 1".into()));
        }
        not_negative([
            ("kl_weight", self.kl_weight),
            ("edge_weight", self.edge_weight),
            ("equivariance_weight", self.equivariance_weight),
            ("timestep_power", self.timestep_power),
            ("object_weight", self.object_weight),
            ("auxiliary_weight", self.auxiliary_weight),
        ])?;
        self.autoencoder.validate("autoencoder")?;
        self.text_encoder.validate("text_encoder")?;
        self.denoiser.validate("denoiser")?;
        self.classifier.validate("classifier")
    }
}

/// Access to the settings of one part.
type Settings = fn(&mut PretrainConfig) -> &mut TaskConfig;

impl TaskConfig {
    /// The names of all parts and access to their settings, in the order of training.
    pub(super) const PARTS: [(&str, Settings); 4] = [
        ("classifier", |config| &mut config.classifier),
        ("autoencoder", |config| &mut config.autoencoder),
        ("text-encoder", |config| &mut config.text_encoder),
        ("denoiser", |config| &mut config.denoiser),
    ];

    fn validate(&self, section: &str) -> Result<()> {
        let name = |key: &str| format!("{section}.{key}");
        at_least_one([
            (&*name("steps"), self.steps),
            (&*name("batch"), self.batch),
            (&*name("shards"), self.shards),
            (&*name("save_every"), self.save_every),
            (&*name("preview_every"), self.preview_every),
        ])?;
        if !(0.0..1.0).contains(&self.ema_decay) {
            let (key, value) = (name("ema_decay"), self.ema_decay);
            return Err(Error::Invalid(format!(
                "`{key}` is {value}; it must be at least 0 and less than 1"
            )));
        }
        not_negative([
            (&*name("lr"), self.lr),
            (&*name("final_lr_ratio"), self.final_lr_ratio),
            (&*name("weight_decay"), self.weight_decay),
            (&*name("max_gradient_norm"), self.max_gradient_norm),
        ])
    }

    /// The learning rate of a step, counted from 0.
    pub fn lr_at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / self.steps as f64;
        let share = if left < self.cooldown { left / self.cooldown } else { 1.0 };
        self.lr * (self.final_lr_ratio + (1.0 - self.final_lr_ratio) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        PretrainConfig::default().validate().unwrap();
        let refused = |text: &str, name: &str| {
            let config: PretrainConfig = serde_json::from_str(text).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        refused(r#"{ "pair_probability": 1.5 }"#, "`pair_probability` is 1.5");
        refused(r#"{ "timestep_power": -1.0 }"#, "`timestep_power`");
        refused(r#"{ "denoiser": { "batch": 0 } }"#, "`denoiser.batch`");
        refused(r#"{ "precision": "f16" }"#, "f32 or bf16");
        refused(r#"{ "classifier": { "lr": -1e-3 } }"#, "`classifier.lr`");
        refused(r#"{ "classifier": { "ema_decay": 1.0 } }"#, "`classifier.ema_decay`");
    }

    #[test]
    fn optimisers_are_lowercase_words() {
        for (word, kind) in [("adamw", OptimizerKind::AdamW), ("muon", OptimizerKind::Muon)] {
            let text = format!(r#"{{ "optimizer": "{word}" }}"#);
            assert_eq!(serde_json::from_str::<TaskConfig>(&text).unwrap().optimizer, kind);
        }
    }

    #[test]
    fn the_learning_rate_rises_to_its_peak_and_falls_to_its_final_value() {
        let config = TaskConfig { steps: 1000, warmup: 100, ..TaskConfig::default() };
        assert!((config.lr_at(99) - config.lr).abs() < 1e-12);
        assert!(config.lr_at(0) < config.lr_at(50));
        assert_eq!(config.lr_at(500), config.lr);
        assert!(config.lr_at(700) > config.lr_at(900));
        assert!((config.lr_at(1000) - config.lr * config.final_lr_ratio).abs() < 1e-12);
    }
}
