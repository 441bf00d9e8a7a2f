//! What an adapter's file tells people and programs besides its factors.

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
