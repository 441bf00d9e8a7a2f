//! Scenes as tensors.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use crate::world::Scene;

/// Renders scenes as pixels from -1 to 1: `[scenes, 3, side, side]`.
pub fn to_pixels<B: Backend>(scenes: &[Scene], side: usize, device: &B::Device) -> Tensor<B, 4> {
    let render = |scene: &Scene| {
        let rgb = scene.render(side).rgb;
        let channel = |c: usize| rgb.iter().skip(c).step_by(3).map(|x| *x as f32 / 127.5 - 1.0);
        (0..3).flat_map(channel).collect::<Vec<f32>>()
    };
    let pixels: Vec<f32> = scenes.par_iter().flat_map_iter(render).collect();
    Tensor::from_data(TensorData::new(pixels, [scenes.len(), 3, side, side]), device)
}
