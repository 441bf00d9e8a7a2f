//! The latents of training scenes, which the VAE encodes once: encoding takes a fifth of a step of the
//! denoiser.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_core::error::Result;
use seqlora_core::model::LatentCodec as _;
use seqlora_core::train::LatentCache;
use seqlora_kernels::KernelBackend;
use serde::Serialize;

use crate::pixels::to_pixels;
use crate::world::Scene;
use seqlora_models::vae::Vae;

/// Encodes scenes, and keeps the latents of those that it has encoded.
#[derive(Debug)]
pub struct SceneLatents<B: Backend> {
    vae: Vae<B>,
    /// Width and height of the images, in pixels.
    side: usize,
    cache: Option<Mutex<LatentCache>>,
}

impl<B: KernelBackend> SceneLatents<B> {
    /// For images of `side × side` pixels, without a cache.
    pub fn new(vae: Vae<B>, side: usize) -> Self {
        Self { vae, side, cache: None }
    }

    /// With a cache in a folder. `identity` is all that the scenes of each number and the VAE depend on.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn with_cache(self, folder: &Path, identity: &impl Serialize) -> Result<Self> {
        let cache = LatentCache::open(folder, identity, self.shape().iter().product())?;
        Ok(Self { cache: Some(Mutex::new(cache)), ..self })
    }

    /// The VAE.
    pub fn vae(&self) -> &Vae<B> {
        &self.vae
    }

    /// Channels, height and width of the latents of an image.
    pub fn shape(&self) -> [usize; 3] {
        let side = self.side / self.vae.downscale();
        [self.vae.latent_channels(), side, side]
    }

    /// The means of the latents of scenes: `[scenes, channels, height, width]`. Scenes of the same number
    /// must be the same.
    ///
    /// # Errors
    /// If the cache cannot be read or written.
    pub fn encode(&self, scenes: &[(u64, Scene)]) -> Result<Tensor<B, 4>> {
        let mut latents = Vec::with_capacity(scenes.len());
        for (number, _) in scenes {
            let cached = self.cache().map(|cache| cache.get(*number as usize)).transpose()?;
            latents.push(cached.flatten());
        }
        let missing = || (0..scenes.len()).filter(|at| latents[*at].is_none());
        let missing: Vec<usize> = missing().collect();
        if !missing.is_empty() {
            let new: Vec<Scene> = missing.iter().map(|at| scenes[*at].1.clone()).collect();
            let pixels = to_pixels(&new, self.side, &self.vae.device());
            let means = self.vae.encode_image(pixels).mean.into_data();
            let means: Vec<f32> = means.iter::<f32>().collect();
            for (at, mean) in missing.iter().zip(means.chunks_exact(means.len() / missing.len())) {
                if let Some(cache) = self.cache() {
                    cache.put(scenes[*at].0 as usize, mean)?;
                }
                latents[*at] = Some(mean.to_vec());
            }
        }
        let [channels, height, width] = self.shape();
        let values: Vec<f32> = latents.into_iter().flatten().flatten().collect();
        let data = TensorData::new(values, [scenes.len(), channels, height, width]);
        Ok(Tensor::from_data(data, &self.vae.device()))
    }

    fn cache(&self) -> Option<MutexGuard<'_, LatentCache>> {
        let cache = self.cache.as_ref()?;
        Some(cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::design::vae;
    use crate::pretrain::initial::initialised;
    use crate::world::{SceneOptions, Seed};
    use burn::backend::Autodiff;
    use burn::module::AutodiffModule;
    use seqlora_kernels::Flex;
    use seqlora_models::vae::VaeConfig;

    #[test]
    fn cached_latents_are_those_that_were_encoded() {
        let device = Default::default();
        let config: VaeConfig = serde_json::from_value(vae()).unwrap();
        let vae = initialised(config.init::<Autodiff<Flex>>(&device), &Seed::new(0), &device);
        let vae = vae.valid();
        let scene =
            |number| (number, Scene::random(&Seed::new(1), number, &SceneOptions::default()));
        let plain = SceneLatents::new(vae.clone(), 64);
        let folder = tempfile::tempdir().unwrap();
        let cached = SceneLatents::new(vae, 64).with_cache(folder.path(), &"seed 1").unwrap();
        cached.encode(&[scene(5), scene(2)]).unwrap();
        let scenes = [scene(2), scene(7), scene(5)];
        let [expected, found] = [plain, cached].map(|latents| latents.encode(&scenes).unwrap());
        let difference = (expected - found).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }
}
