//! A vision transformer as an image encoder of metrics.

use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;
use seqlora_eval::ImageEncoder;
use seqlora_kernels::KernelBackend;
use seqlora_models::vit::VitModel;

use crate::preprocess::Preprocessing;

/// The number of images that are encoded at a time, which bounds the memory.
pub(crate) const CHUNK: usize = 16;

/// A vision transformer and its preprocessing.
#[derive(Debug)]
pub struct VitEncoder<B: KernelBackend> {
    model: VitModel<B>,
    preprocessing: Preprocessing,
}

impl<B: KernelBackend> VitEncoder<B> {
    /// An encoder of images that are preprocessed as given. The model's position embeddings are resampled
    /// for their size.
    ///
    /// # Panics
    /// If the model's patches do not divide that size.
    pub fn new(model: VitModel<B>, preprocessing: Preprocessing) -> Self {
        let side = preprocessing.side();
        Self { model: model.for_images([side, side]), preprocessing }
    }
}

impl<B: KernelBackend> ImageEncoder<B> for VitEncoder<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        in_chunks(pixels, |chunk| self.model.embed(chunk))
    }

    fn pixels(&self, images: &[&RgbImage], device: &B::Device) -> Tensor<B, 4> {
        preprocessed(images, &self.preprocessing, device)
    }

    fn preprocessing(&self) -> String {
        self.preprocessing.description()
    }
}

/// Preprocessed images, `[images, 3, side, side]`.
pub(crate) fn preprocessed<B: KernelBackend>(
    images: &[&RgbImage],
    preprocessing: &Preprocessing,
    device: &B::Device,
) -> Tensor<B, 4> {
    let values: Vec<f32> =
        images.par_iter().flat_map_iter(|image| preprocessing.apply(image)).collect();
    let side = preprocessing.side();
    Tensor::from_data(TensorData::new(values, [images.len(), 3, side, side]), device)
}

/// The embeddings of images that are encoded a few at a time.
pub(crate) fn in_chunks<B: KernelBackend>(
    pixels: Tensor<B, 4>,
    embed: impl Fn(Tensor<B, 4>) -> Tensor<B, 2>,
) -> Tensor<B, 2> {
    let images = pixels.dims()[0];
    let chunk = |start| embed(pixels.clone().narrow(0, start, CHUNK.min(images - start)));
    Tensor::cat((0..images).step_by(CHUNK).map(chunk).collect(), 0)
}
