//! A trained classifier, loaded from a folder.

use std::path::Path;

use burn::tensor::{Tensor, backend::Backend};
use seqlora_eval::ImageEncoder;
use seqlora_kernels::KernelBackend;

use super::config::ClassifierConfig;
use super::model::{ClassifierModel, ClassifierOutput};
use super::prediction::Prediction;
use seqlora_models::weights::{KeyTable, ModelError, WeightFiles, load_weights, read_config};

/// The number of images that are classified at a time, which bounds the memory.
const CHUNK: usize = 64;

/// A trained classifier.
#[derive(Debug, Clone)]
pub struct Classifier<B: Backend> {
    model: ClassifierModel<B>,
    side: usize,
}

impl<B: KernelBackend> Classifier<B> {
    /// Wraps a network that is made for images of `side × side` pixels.
    pub fn new(model: ClassifierModel<B>, side: usize) -> Self {
        Self { model, side }
    }

    /// Loads `config.json` and `model.safetensors` of a folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the weights do not fit the configuration.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let file = folder.join("config.json");
        let text = read_config(&file)?;
        let config = ClassifierConfig::parse(&text, &file)?;
        let model =
            load_weights(config.init(device), &WeightFiles::find(folder)?, &KeyTable::VIT.into())?;
        Ok(Self::new(model, config.side()))
    }

    /// Width and height of the images that it was trained on, in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// A prediction for each image.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If the patch size does not divide the sides of the stem's output.
    pub fn classify(&self, pixels: Tensor<B, 4>) -> Vec<Prediction> {
        self.chunks(pixels).flat_map(|output| Prediction::of(&output)).collect()
    }

    /// The identity embedding of the object that is most likely in each image, of length one, which
    /// [`identity`](super::identity) compares.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, height, width]`, -1 to 1
    /// - output: `[images, projection]`
    ///
    /// # Panics
    /// If the patch size does not divide the sides of the stem's output, or there are no images.
    pub fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        Tensor::cat(self.chunks(pixels).map(|output| output.strongest()).collect(), 0)
    }

    fn chunks(&self, pixels: Tensor<B, 4>) -> impl Iterator<Item = ClassifierOutput<B>> {
        let images = pixels.dims()[0];
        (0..images).step_by(CHUNK).map(move |start| {
            let chunk = pixels.clone().narrow(0, start, CHUNK.min(images - start));
            self.model.forward(chunk)
        })
    }
}

impl<B: KernelBackend> ImageEncoder<B> for Classifier<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        Classifier::embed(self, pixels)
    }
}
