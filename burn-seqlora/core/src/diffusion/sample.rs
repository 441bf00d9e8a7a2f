//! The sampling loop: noise to latents, by any sampler that is a table of linear steps.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::KernelBackend;

use super::conditioning::Conditioning;
use super::sampler::SamplerPlan;
use crate::lora::DualAdapters;
use crate::model::Denoiser;
use burn_jvp::Dual;

/// Classifier-free guidance: `ε̂ = ε̂(∅) + scale (ε̂(prompt) − ε̂(∅))`.
#[derive(Debug, Clone)]
pub struct Guidance<B: Backend> {
    /// The encoded prompts.
    pub prompt: Conditioning<B>,
    /// The encoded negative (or empty) prompts.
    pub negative: Conditioning<B>,
    /// 1 switches guidance off and halves the work; diffusers, and the pipeline, take all less for 1.
    pub scale: f64,
}

/// Runs `plan` from standard normal `noise` `[batch, channels, height, width]` to latents.
///
/// `fresh` gives the standard normal noise, of the same shape, that is new in step `i`; only
/// samplers that need some ask for it.
///
/// `progress` is called after each step with the number of steps done; if it returns `false` the
/// loop stops and the result is `None`.
pub fn sample<B: KernelBackend, M: Denoiser<B>>(
    model: &M,
    adapters: &DualAdapters<B>,
    guidance: &Guidance<B>,
    plan: &SamplerPlan,
    noise: Tensor<B, 4>,
    fresh: impl Fn(usize) -> Tensor<B, 4>,
    progress: impl FnMut(usize) -> bool,
) -> Option<Tensor<B, 4>> {
    let first = noise.mul_scalar(plan.init_noise_sigma);
    sample_from(model, adapters, guidance, plan, first, fresh, progress)
}

/// [`sample`] from the first sample itself, `[batch, channels, height, width]`: see [`SamplerPlan`] for
/// what it is made of.
pub fn sample_from<B: KernelBackend, M: Denoiser<B>>(
    model: &M,
    adapters: &DualAdapters<B>,
    guidance: &Guidance<B>,
    plan: &SamplerPlan,
    first: Tensor<B, 4>,
    fresh: impl Fn(usize) -> Tensor<B, 4>,
    mut progress: impl FnMut(usize) -> bool,
) -> Option<Tensor<B, 4>> {
    let guided = guidance.scale != 1.0;
    let conditioning = match guided {
        true => guidance.negative.clone().cat(guidance.prompt.clone()),
        false => guidance.prompt.clone(),
    };
    let conditioning = model.prepare(conditioning, adapters);
    let batch = first.dims()[0];
    let device = first.device();
    let mut x = first;
    let mut previous_x0: Option<Tensor<B, 4>> = None;
    for (done, step) in plan.steps.iter().enumerate() {
        let input = x.clone().mul_scalar(step.scale_input);
        let input = if guided { Tensor::cat(vec![input.clone(), input], 0) } else { input };
        let timesteps = vec![step.timestep as f32; input.dims()[0]];
        let timesteps = Tensor::from_data(TensorData::from(timesteps.as_slice()), &device);
        let output =
            model.predict(Dual::constant(input), timesteps, &conditioning, adapters).primal;
        let output = match guided {
            true => {
                let negative = output.clone().narrow(0, 0, batch);
                let prompt = output.narrow(0, batch, batch);
                negative.clone() + (prompt - negative).mul_scalar(guidance.scale)
            }
            false => output,
        };
        let x0 = x.clone().mul_scalar(step.x0_from_sample) + output.mul_scalar(step.x0_from_output);
        x = x.mul_scalar(step.next_from_sample) + x0.clone().mul_scalar(step.next_from_x0);
        if let Some(previous) = previous_x0.filter(|_| step.next_from_previous_x0 != 0.0) {
            x = x + previous.mul_scalar(step.next_from_previous_x0);
        }
        if step.next_from_noise != 0.0 {
            x = x + fresh(done).mul_scalar(step.next_from_noise);
        }
        previous_x0 = Some(x0);
        if !progress(done + 1) {
            return None;
        }
    }
    Some(x)
}
