//! The image that image-to-image begins with.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use seqlora_kernels::KernelBackend;

use super::image::Image;
use crate::error::{Error, Result};
use crate::model::{DiffusionModel, LatentPosterior};

/// An image that is changed: it is encoded, noised as the first step of sampling expects it, and
/// denoised from there ([`SamplerPlan::from_image`](crate::diffusion::SamplerPlan::from_image)).
#[derive(Debug, Clone, PartialEq)]
pub struct InitImage {
    /// The image, of the size of those that are made.
    pub image: Arc<Image>,
    /// The share of the steps that are taken: near 0 nearly nothing changes, and at 1 hardly anything
    /// of the image is left.
    pub strength: f64,
}

impl InitImage {
    /// The latents that it may be encoded to, `[1, channels, height, width]`.
    ///
    /// # Errors
    /// If its size is not that of the images that are made, or its latents are not finite.
    pub(super) fn encode<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        shape: [usize; 4],
    ) -> Result<LatentPosterior<B>> {
        let Image { width, height, rgb } = &*self.image;
        let expected = [shape[3], shape[2]].map(|side| side * model.downscale());
        if [*width, *height] != expected || rgb.len() != width * height * 3 {
            let [right, bottom] = expected;
            return Err(Error::Invalid(format!(
                "the image to begin with has {width}x{height} pixels, and those that are made have \
                 {right}x{bottom}"
            )));
        }
        let values: Vec<f32> = rgb.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
        let pixels = TensorData::new(values, [1, *height, *width, 3]);
        let pixels = Tensor::<B, 4>::from_data(pixels, &model.device()).permute([0, 3, 1, 2]);
        Ok(model.encode_image(pixels))
    }
}
