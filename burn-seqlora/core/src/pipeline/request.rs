//! One image that is asked for, and its noise.

use burn::tensor::{Tensor, TensorData};
use seqlora_kernels::KernelBackend;

use crate::rng::{Seed, normal};

/// One image that is asked for.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// The prompt; concepts are written `<id>`.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// Prompts for boxes of the image: left, top, right and bottom in pixels. All requests of a batch
    /// have the same boxes.
    pub regions: Vec<([usize; 4], String)>,
    /// The noise that it starts from.
    pub noise: Noise,
}

impl ImageRequest {
    /// Image number `number` of a seed.
    pub fn new(prompt: impl Into<String>, seed: u64, number: usize) -> Self {
        Self {
            prompt: prompt.into(),
            negative: String::new(),
            regions: Vec::new(),
            noise: Noise::of(seed, number),
        }
    }
}

/// The noise of one image, as a function of seeds.
#[derive(Debug, Clone)]
pub struct Noise {
    start: Start,
    /// What ancestral samplers draw in each step.
    steps: Seed,
    /// What is drawn from the latents that an image may be encoded to.
    posterior: Seed,
}

#[derive(Debug, Clone)]
enum Start {
    Drawn(Seed, u64),
    Given(TensorData),
}

impl Noise {
    /// That of image number `number` of a user's seed.
    pub fn of(seed: u64, number: usize) -> Self {
        let seed = Seed::new(seed);
        Self::drawn(&seed, seed.fork("latents"), number)
    }

    /// That of image number `number`, drawn from one seed and its fork `steps`.
    pub fn from_seed(seed: &Seed, number: usize) -> Self {
        Self::drawn(seed, seed.clone(), number)
    }

    fn drawn(seed: &Seed, start: Seed, number: usize) -> Self {
        let of_number = |purpose| seed.fork(purpose).fork(&number.to_string());
        let (steps, posterior) = (of_number("steps"), of_number("posterior"));
        Self { start: Start::Drawn(start, number as u64), steps, posterior }
    }

    /// The same, but starting from these latents `[1, channels, height, width]`.
    pub fn starting_from(self, latents: TensorData) -> Self {
        Self { start: Start::Given(latents), ..self }
    }

    /// The latents that an image starts from.
    pub(super) fn latents<B: KernelBackend>(
        &self,
        shape: [usize; 4],
        device: &B::Device,
    ) -> Tensor<B, 4> {
        match &self.start {
            Start::Drawn(seed, counter) => normal(shape, &mut seed.at(*counter), device),
            Start::Given(data) => Tensor::from_data(data.clone(), device),
        }
    }

    /// What is new in step `step`.
    pub(super) fn fresh<B: KernelBackend>(
        &self,
        step: usize,
        shape: [usize; 4],
        device: &B::Device,
    ) -> Tensor<B, 4> {
        normal(shape, &mut self.steps.at(step as u64), device)
    }

    /// What is drawn from the latents that an image may be encoded to.
    pub(super) fn posterior<B: KernelBackend>(
        &self,
        shape: [usize; 4],
        device: &B::Device,
    ) -> Tensor<B, 4> {
        normal(shape, &mut self.posterior.at(0), device)
    }
}
