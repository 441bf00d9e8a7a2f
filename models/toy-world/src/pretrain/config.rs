//! What can be chosen about pretraining; the defaults are meant for the built-in model.

use seqlora_core::check::{at_least_one, not_negative};
use seqlora_core::error::{Error, Result};
use seqlora_core::precision::Precision;
use serde::{Deserialize, Serialize};

use super::judging::Augmentation;

/// Settings of a whole pretraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Of scenes, noise, timesteps and initial weights.
    pub seed: u64,
    /// What UNet and text encoder compute in, f32 or bf16. All weights are kept in f32, and VAE and
    /// judge are trained in it.
    pub precision: Precision,
    /// Share of scenes with two objects, 0 to 1; not of the judge's.
    pub pairs: f64,
    /// Share of the autoencoder's pictures that show an individual, which the denoiser never sees.
    pub individuals: f64,
    /// Weight of the latents' divergence from a standard normal, per latent.
    pub divergence: f64,
    /// Weight of the error of pictures of half the side, decoded from latents of half the side.
    pub halved: f64,
    /// How the denoiser's timesteps are spread: their density goes with this power of the timestep,
    /// so 0 takes all alike and 1 takes noise more often than what is almost clean.
    pub timestep_power: f64,
    /// Weight of the denoiser's error where objects are; it is 1 elsewhere.
    pub objects: f64,
    /// Weight of what the denoiser's coarse features do not tell of what covers each place.
    pub places: f64,
    /// Share of captions replaced by the empty one, for classifier-free guidance.
    pub caption_dropout: f64,
    /// Training of the VAE.
    pub autoencoder: StageConfig,
    /// Training of the text encoder on captions alone.
    pub text_encoder: StageConfig,
    /// Training of UNet and text encoder together.
    pub denoiser: StageConfig,
    /// Training of the judge.
    pub judge: StageConfig,
    /// Damage to the judge's training pictures.
    pub augmentation: Augmentation,
}

/// How one part is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// Minibatches.
    pub steps: usize,
    /// Pictures per minibatch.
    pub batch: usize,
    /// Parts of a minibatch that are computed side by side, each on its share of the cores. The
    /// noise is drawn per part.
    pub shards: usize,
    /// The greatest learning rate.
    pub rate: f64,
    /// Steps in which the rate rises from zero.
    pub warmup: usize,
    /// The rate at the end, as a share of the greatest; it falls along half a cosine.
    pub final_rate: f64,
    /// Steps of matrices and kernels are made orthogonal (Muon), as long as those of AdamW, which
    /// the other parameters get; else all get AdamW.
    pub orthogonal: bool,
    /// Decay of matrices and kernels, per step and unit of rate.
    pub weight_decay: f64,
    /// Gradients longer than this are shortened to it.
    pub clip: f64,
    /// How much of the running average of the weights is kept at each step.
    pub average: f64,
    /// Steps between saved states.
    pub save_every: usize,
    /// Steps between previews, which the autoencoder and the denoiser have.
    pub preview_every: usize,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            precision: Precision::F32,
            pairs: 0.6,
            individuals: 0.3,
            divergence: 5e-4,
            halved: 0.25,
            timestep_power: 1.0,
            objects: 3.0,
            places: 0.3,
            caption_dropout: 0.1,
            autoencoder: StageConfig {
                steps: 3000,
                batch: 4,
                rate: 2e-3,
                average: 0.995,
                ..StageConfig::default()
            },
            text_encoder: StageConfig { steps: 2000, batch: 48, ..StageConfig::default() },
            denoiser: StageConfig {
                steps: 10_000,
                batch: 16,
                orthogonal: true,
                ..StageConfig::default()
            },
            judge: StageConfig {
                steps: 4000,
                rate: 1.5e-3,
                warmup: 100,
                weight_decay: 0.05,
                average: 0.998,
                ..StageConfig::default()
            },
            augmentation: Augmentation::default(),
        }
    }
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            steps: 8000,
            batch: 32,
            shards: 2,
            rate: 1e-3,
            warmup: 200,
            final_rate: 0.02,
            orthogonal: false,
            weight_decay: 0.01,
            clip: 1.0,
            average: 0.999,
            save_every: 250,
            preview_every: 500,
        }
    }
}

impl PretrainConfig {
    /// Refuses values that mean nothing.
    ///
    /// # Errors
    /// Names the first such key.
    pub fn validate(&self) -> Result<()> {
        if self.precision == Precision::F16 {
            let text = "pretraining computes in f32 or bf16: small gradients would be 0 in f16";
            return Err(Error::Invalid(text.into()));
        }
        let shares = [
            ("pairs", self.pairs),
            ("individuals", self.individuals),
            ("caption_dropout", self.caption_dropout),
        ];
        if let Some((name, value)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::Invalid(format!("`{name}` is {value}; it must be from 0 to 1")));
        }
        let weights = [
            ("divergence", self.divergence),
            ("halved", self.halved),
            ("timestep_power", self.timestep_power),
            ("objects", self.objects),
            ("places", self.places),
        ];
        not_negative(weights)?;
        self.autoencoder.validate("autoencoder")?;
        self.text_encoder.validate("text_encoder")?;
        self.denoiser.validate("denoiser")?;
        self.judge.validate("judge")
    }
}

/// The settings of one part.
type Settings = fn(&mut PretrainConfig) -> &mut StageConfig;

impl StageConfig {
    /// The parts' names and their settings, in the order of training.
    pub(super) const PARTS: [(&str, Settings); 4] = [
        ("autoencoder", |config| &mut config.autoencoder),
        ("text-encoder", |config| &mut config.text_encoder),
        ("denoiser", |config| &mut config.denoiser),
        ("judge", |config| &mut config.judge),
    ];

    fn validate(&self, stage: &str) -> Result<()> {
        let name = |key: &str| format!("{stage}.{key}");
        at_least_one([
            (&*name("steps"), self.steps),
            (&*name("batch"), self.batch),
            (&*name("shards"), self.shards),
            (&*name("save_every"), self.save_every),
            (&*name("preview_every"), self.preview_every),
        ])?;
        if !(0.0..1.0).contains(&self.average) {
            let (key, value) = (name("average"), self.average);
            return Err(Error::Invalid(format!(
                "`{key}` is {value}; it must be from 0 to below 1"
            )));
        }
        not_negative([
            (&*name("rate"), self.rate),
            (&*name("final_rate"), self.final_rate),
            (&*name("weight_decay"), self.weight_decay),
            (&*name("clip"), self.clip),
        ])
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate_at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let way =
            (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        let cosine = (1.0 + (std::f64::consts::PI * way.min(1.0)).cos()) / 2.0;
        self.rate * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        PretrainConfig::default().validate().unwrap();
        let wrong = |text: &str, name: &str| {
            let config: PretrainConfig = serde_json::from_str(text).unwrap();
            let refusal = config.validate().unwrap_err().to_string();
            assert!(refusal.contains(name), "{refusal}");
        };
        wrong(r#"{ "pairs": 1.5 }"#, "`pairs` is 1.5");
        wrong(r#"{ "timestep_power": -1.0 }"#, "`timestep_power`");
        wrong(r#"{ "denoiser": { "batch": 0 } }"#, "`denoiser.batch`");
        wrong(r#"{ "precision": "f16" }"#, "f32 or bf16");
        wrong(r#"{ "judge": { "rate": -1e-3 } }"#, "`judge.rate`");
        wrong(r#"{ "judge": { "average": 1.0 } }"#, "`judge.average`");
    }

    #[test]
    fn the_rate_rises_then_falls_to_its_end() {
        let config = StageConfig { steps: 1000, warmup: 100, ..StageConfig::default() };
        assert!((config.rate_at(99) - config.rate).abs() < 1e-12);
        assert!(config.rate_at(0) < config.rate_at(50));
        assert!(config.rate_at(500) > config.rate_at(900));
        assert!((config.rate_at(1000) - config.rate * config.final_rate).abs() < 1e-12);
    }
}
