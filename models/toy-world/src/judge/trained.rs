//! A judge that is read from a folder.

use std::path::Path;

use burn::tensor::{Tensor, backend::Backend};
use seqlora_eval::ImageEncoder;
use seqlora_kernels::KernelBackend;

use super::config::JudgeConfig;
use super::model::{JudgeModel, JudgeOutput};
use super::reading::Reading;
use seqlora_models::weights::{KeyTable, ModelError, WeightFiles, load_weights};

/// Pictures that pass through the model at a time.
const CHUNK: usize = 64;

/// A trained judge.
#[derive(Debug)]
pub struct Judge<B: Backend> {
    model: JudgeModel<B>,
    side: usize,
}

impl<B: KernelBackend> Judge<B> {
    /// Takes a model as it is, for pictures of `side` pixels.
    pub fn new(model: JudgeModel<B>, side: usize) -> Self {
        Self { model, side }
    }

    /// Loads `config.json` and `model.safetensors` of a folder.
    ///
    /// # Errors
    /// If anything in the folder is missing, damaged or does not fit.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let file = folder.join("config.json");
        let text = std::fs::read_to_string(&file).map_err(ModelError::io(&file))?;
        let config = JudgeConfig::parse(&text, &file)?;
        let model =
            load_weights(config.init(device), &WeightFiles::find(folder)?, &KeyTable::VIT.into())?;
        Ok(Self::new(model, config.side()))
    }

    /// Side of the pictures that it was trained on.
    pub fn side(&self) -> usize {
        self.side
    }

    /// What each picture shows.
    ///
    /// # Shapes
    /// - pixels: `[pictures, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If a patch does not divide a side.
    pub fn read(&self, pixels: Tensor<B, 4>) -> Vec<Reading> {
        self.chunks(pixels).flat_map(|output| Reading::of(&output.answers)).collect()
    }

    /// The identity embeddings, of length one: `[pictures, projection]`. Pixels as in
    /// [`read`](Self::read); [`identity`](super::identity) compares them.
    ///
    /// # Panics
    /// If a patch does not divide a side, or there are no pictures.
    pub fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        Tensor::cat(self.chunks(pixels).map(|output| output.embedding).collect(), 0)
    }

    fn chunks(&self, pixels: Tensor<B, 4>) -> impl Iterator<Item = JudgeOutput<B>> {
        let pictures = pixels.dims()[0];
        (0..pictures).step_by(CHUNK).map(move |start| {
            let chunk = pixels.clone().narrow(0, start, CHUNK.min(pictures - start));
            self.model.forward(chunk)
        })
    }
}

impl<B: KernelBackend> ImageEncoder<B> for Judge<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        Judge::embed(self, pixels)
    }
}
