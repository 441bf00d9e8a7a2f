//! The embedding of the diffusion time.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::{Linear, LinearConfig};

/// Sines and cosines of the timestep at geometric frequencies, followed by two linear layers.
#[derive(Module, Debug)]
pub struct TimestepEmbedding<B: Backend> {
    linear_1: Linear<B>,
    linear_2: Linear<B>,
    #[module(skip)]
    frequency: Frequency,
}

/// The frequencies of the sines and cosines (diffusers' `Timesteps`).
#[derive(Debug, Clone, Copy)]
pub struct Frequency {
    /// The number of sines and cosines together.
    pub channels: usize,
    /// Whether the cosines come before the sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the exponent.
    pub shift: f64,
}

impl<B: KernelBackend> TimestepEmbedding<B> {
    /// A layer without weights, which is four times as wide as the sines and cosines.
    pub fn new(frequency: Frequency, device: &B::Device) -> Self {
        let width = 4 * frequency.channels;
        Self {
            linear_1: LinearConfig::new(frequency.channels, width).init(device),
            linear_2: LinearConfig::new(width, width).init(device),
            frequency,
        }
    }

    /// Embeds timesteps.
    ///
    /// # Shapes
    /// - timesteps: `[batch]`, output: `[batch, 4 · channels]`
    pub fn forward(&self, timesteps: Tensor<B, 1>, adapters: &DualAdapters<B>) -> Dual<B, 2> {
        // In half precision, angles of up to a thousand radians would be too inexact.
        let waves = self.frequency.waves(timesteps).cast(self.linear_1.weight.val().dtype());
        let waves = Dual::constant(waves);
        self.linear_2.forward(self.linear_1.forward(waves, adapters).silu(), adapters)
    }
}

impl Frequency {
    fn waves<B: Backend>(self, timesteps: Tensor<B, 1>) -> Tensor<B, 2> {
        let half = self.channels / 2;
        let frequency = |i| (-(10000f64.ln()) * i as f64 / (half as f64 - self.shift)).exp() as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let frequencies = Tensor::<B, 1>::from_data(
            TensorData::from(frequencies.as_slice()),
            &timesteps.device(),
        );
        let batch = timesteps.dims()[0];
        let angles = timesteps.reshape([batch, 1]) * frequencies.unsqueeze::<2>();
        let (sin, cos) = (angles.clone().sin(), angles.cos());
        Tensor::cat(if self.flip_sin_to_cos { vec![cos, sin] } else { vec![sin, cos] }, 1)
    }
}
