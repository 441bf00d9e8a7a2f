//! What an adapter's file tells people and programs besides its factors.

use serde_json::Value;

use crate::bank::TrainingRecord;
use crate::diffusion::Prediction;

/// What is known of an adapter that is written for other tools.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterCard {
    /// Its name, which tools show and use as the name of the file.
    pub name: String,
    /// What one writes in a prompt to get the concept, if it has words of its own.
    pub trigger: String,
    /// The base model's name.
    pub base: String,
    /// The width of a token's embedding: 768 in Stable Diffusion 1.x, 1024 in 2.x.
    pub token_width: usize,
    /// What the base model predicts, if that is known.
    pub prediction: Option<Prediction>,
    /// How it was trained, if it is one concept that was.
    pub training: Option<TrainingCard>,
}

/// How an adapter was trained, as far as its concept's record says.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingCard {
    /// Minibatches.
    pub steps: usize,
    /// Reference images.
    pub images: usize,
    /// Learning rate of A and B in the UNet.
    pub lr_unet: Option<f64>,
    /// Learning rate of A and B in the text encoder.
    pub lr_text: Option<f64>,
    /// Seed of everything random.
    pub seed: Option<u64>,
}

impl TrainingCard {
    /// What a record says; `None` of a concept that was not trained here, such as an imported one.
    pub fn of(record: &TrainingRecord) -> Option<Self> {
        let setting = |key: &str| record.settings.get(key);
        (record.steps > 0).then(|| Self {
            steps: record.steps,
            images: record.images.len(),
            lr_unet: setting("lr_unet").and_then(Value::as_f64),
            lr_text: setting("lr_text").and_then(Value::as_f64),
            seed: setting("seed").and_then(Value::as_u64),
        })
    }
}

impl AdapterCard {
    /// Whether the base model is Stable Diffusion 2.x.
    pub fn is_version_2(&self) -> bool {
        self.token_width == 1024
    }

    /// Whether the base model is known to predict v.
    pub fn predicts_v(&self) -> bool {
        self.prediction == Some(Prediction::VPrediction)
    }

    /// The side in pixels of the images that such a base model was trained on; `None` if it is no Stable
    /// Diffusion.
    pub fn resolution(&self) -> Option<usize> {
        match (self.token_width, self.predicts_v()) {
            (1024, true) => Some(768),
            (768 | 1024, _) => Some(512),
            _ => None,
        }
    }
}
