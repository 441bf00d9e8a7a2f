//! The denoising loss: a pure function of parameters and sample.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::KernelBackend;

use super::conditioning::Conditioning;
use super::schedule::NoiseSchedule;
use crate::lora::DualAdapters;
use crate::model::{Denoiser, TextEncoder};
use crate::objective::Objective;
use crate::text::TextBatch;
use burn_jvp::Dual;

/// Everything random about one evaluation of the loss, as values.
#[derive(Debug, Clone)]
pub struct DenoisingSample<B: Backend> {
    /// x₀ `[batch, channels, height, width]`
    pub latents: Tensor<B, 4>,
    /// ε, of the same shape.
    pub noise: Tensor<B, 4>,
    /// t, one per image.
    pub timesteps: Vec<usize>,
    /// M in [0, 1], `[batch, 1, height, width]`: where the loss counts.
    pub mask: Tensor<B, 4>,
    /// Where the subject is, of the same shape: for the attention's term. `None` without that term.
    pub subject: Option<Tensor<B, 4>>,
    /// One prompt per image.
    pub prompts: TextBatch<B>,
    /// What is to be kept of the class; `None` without that term.
    pub prior: Option<PriorSample<B>>,
}

/// What the model is to go on predicting for the class, whatever it learns about a concept of it.
#[derive(Debug, Clone)]
pub struct PriorSample<B: Backend> {
    /// x_t `[batch, channels, height, width]`
    pub input: Tensor<B, 4>,
    /// t, one per image.
    pub timesteps: Vec<usize>,
    /// What is to be predicted, of the shape of `input`.
    pub target: Tensor<B, 4>,
    /// In [0, 1], `[batch, 1, height, width]`: where it counts.
    pub mask: Tensor<B, 4>,
    /// One prompt per image, with the class word in the concept's place.
    pub prompts: TextBatch<B>,
}

impl<B: KernelBackend> PriorSample<B> {
    /// What a model with these frozen adapters predicts for noisy latents, as constants.
    pub fn predicted<M>(
        model: &M,
        adapters: &DualAdapters<B>,
        noised: Noised<B>,
        timesteps: &[usize],
        prompts: TextBatch<B>,
    ) -> Self
    where
        M: Denoiser<B> + TextEncoder<B>,
    {
        let Noised { input, timesteps: times, .. } = noised;
        let conditioning = model.encode_text(&prompts, None, adapters);
        let noisy = Dual::constant(input.clone());
        let target = model.predict(noisy, times, &conditioning, adapters).primal;
        let [batch, _, height, width] = input.dims();
        let mask = Tensor::<B, 4>::ones([batch, 1, height, width], &input.device());
        let mask = mask.cast(input.dtype());
        Self { input, timesteps: timesteps.to_vec(), target, mask, prompts }
    }
}

/// `L = mean_b( w_t Σ_chw M (ε̂ − target)² / Σ_hw M )`, target ε or v; w_t is 1 without min-SNR weights.
///
/// The sum runs over all channels but the denominator counts each pixel once, so for four channels
/// it is four times the plain masked mean (Mix-of-Show's loss).
#[derive(Debug)]
pub struct DenoisingLoss<'a, M> {
    /// The model that predicts the noise.
    pub model: &'a M,
    /// The noise that it was trained with.
    pub schedule: &'a NoiseSchedule,
    /// γ of [min-SNR weights](NoiseSchedule::min_snr_weight); `None` for none.
    pub min_snr_gamma: Option<f64>,
}

impl<B, M> Objective<B> for DenoisingLoss<'_, M>
where
    B: KernelBackend,
    M: Denoiser<B> + TextEncoder<B>,
{
    type Sample = DenoisingSample<B>;

    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &DenoisingSample<B>,
    ) -> Dual<B, 1> {
        let DenoisingSample { latents, noise, timesteps, mask, prompts, .. } = sample;
        let Noised { input, target, timesteps: times } =
            noised(self.schedule, latents.clone(), noise.clone(), timesteps);
        let conditioning = encoded(self.model, prompts, embeddings, adapters);
        let output = self.model.predict(Dual::constant(input), times, &conditioning, adapters);
        self.error(output, target, mask.clone(), timesteps)
    }
}

impl<M> DenoisingLoss<'_, M> {
    /// The same loss of what is to be kept of the class.
    pub(super) fn of_prior<B>(
        &self,
        adapters: &DualAdapters<B>,
        sample: &PriorSample<B>,
    ) -> Dual<B, 1>
    where
        B: KernelBackend,
        M: Denoiser<B> + TextEncoder<B>,
    {
        let PriorSample { input, timesteps, target, mask, prompts } = sample;
        let conditioning = encoded(self.model, prompts, None, adapters);
        let times = as_tensor(timesteps, &input.device());
        let noisy = Dual::constant(input.clone());
        let output = self.model.predict(noisy, times, &conditioning, adapters);
        self.error(output, target.clone(), mask.clone(), timesteps)
    }

    /// `mean_b( w_t Σ_chw M (output − target)² / Σ_hw M )`
    fn error<B: KernelBackend>(
        &self,
        output: Dual<B, 4>,
        target: Tensor<B, 4>,
        mask: Tensor<B, 4>,
        timesteps: &[usize],
    ) -> Dual<B, 1> {
        let [batch, _, height, width] = target.dims();
        let area = mask.clone().reshape([batch, height * width]).sum_dim(1);
        let mut weight = mask / (area * batch as f64).reshape([batch, 1, 1, 1]);
        if let Some(gamma) = self.min_snr_gamma {
            let of_step = |t: &usize| self.schedule.min_snr_weight(*t, gamma);
            weight = weight * per_image(timesteps.iter().map(of_step), &target.device());
        }
        let error = output.add_constant(-target);
        (error.clone() * error).mul_constant(weight).sum()
    }
}

/// Encoded prompts. What layers of cross-attention see are parts of one tensor.
fn encoded<B: KernelBackend>(
    model: &impl TextEncoder<B>,
    prompts: &TextBatch<B>,
    embeddings: Option<&Tensor<B, 2>>,
    adapters: &DualAdapters<B>,
) -> Conditioning<B> {
    let Conditioning { context } = model.encode_text(prompts, embeddings, adapters);
    context.map_together(|layers| adapters.cut_together(layers)).into()
}

/// What a denoiser is shown and what it should answer.
#[derive(Debug, Clone)]
pub struct Noised<B: Backend> {
    /// x_t `[batch, channels, height, width]`
    pub input: Tensor<B, 4>,
    /// ε, v or x₀, of the same shape.
    pub target: Tensor<B, 4>,
    /// t, one per image.
    pub timesteps: Tensor<B, 1>,
}

/// Latents with the noise of their timesteps.
///
/// # Panics
/// If a timestep is beyond the schedule.
pub fn noised<B: Backend>(
    schedule: &NoiseSchedule,
    latents: Tensor<B, 4>,
    noise: Tensor<B, 4>,
    timesteps: &[usize],
) -> Noised<B> {
    let device = latents.device();
    let mix = |coefficients: fn(&NoiseSchedule, usize) -> (f64, f64)| {
        let pairs: Vec<_> = timesteps.iter().map(|t| coefficients(schedule, *t)).collect();
        let of_latents = per_image(pairs.iter().map(|p| p.0), &device);
        let of_noise = per_image(pairs.iter().map(|p| p.1), &device);
        latents.clone() * of_latents + noise.clone() * of_noise
    };
    Noised {
        input: mix(NoiseSchedule::add_noise),
        target: mix(NoiseSchedule::target),
        timesteps: as_tensor(timesteps, &device),
    }
}

fn as_tensor<B: Backend>(timesteps: &[usize], device: &B::Device) -> Tensor<B, 1> {
    let steps: Vec<f32> = timesteps.iter().map(|t| *t as f32).collect();
    Tensor::from_data(TensorData::from(steps.as_slice()), device)
}

/// One number per image, shaped to multiply `[batch, channels, height, width]`.
fn per_image<B: Backend>(numbers: impl Iterator<Item = f64>, device: &B::Device) -> Tensor<B, 4> {
    let numbers: Vec<f32> = numbers.map(|x| x as f32).collect();
    let shape = [numbers.len(), 1, 1, 1];
    Tensor::from_data(TensorData::new(numbers, shape), device)
}
