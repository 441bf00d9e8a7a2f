//! How long training will take, from a short probe of the loss.

use std::time::{Duration, Instant};

use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::{KernelBackend, TrainBackend};

use super::encode::resolution;
use super::plan::ConceptPlan;
use super::prompts::{class_tokens, concept_vocabulary, tokens};
use crate::diffusion::{DenoisingLoss, DenoisingSample, PriorSample, TrainingLoss};
use crate::error::{Error, Result};
use crate::lora::DualAdapters;
use crate::methods::Work;
use crate::model::DiffusionModel;
use crate::objective::Objective;
use crate::read::scalar;
use crate::settings::Memory;
use crate::text::{TextBatch, Vocabulary};

/// A gradient takes a forward pass and a backward pass, which costs about twice as much.
const LOSSES_PER_GRADIENT: f64 = 3.0;

/// A Hessian product carries tangents forward and backward; measured with the built-in model, it takes 2.3
/// gradients.
const LOSSES_PER_PRODUCT: f64 = 2.3 * LOSSES_PER_GRADIENT;

/// A loss that is faster than this is timed once more: the first run warms up.
const SHORT: Duration = Duration::from_secs(2);

/// The seconds that a minibatch of a concept will take, if it takes this work: the time of one loss without
/// a tape at the run's own size, of the images that go through the model at once, times the passes of its gradients (3 each) and Hessian products (7
/// each). Decoding and encoding images come in addition, once per placement.
///
/// # Errors
/// If the model cannot take images of this size, or a prompt cannot be tokenized.
pub fn step_seconds<B, M>(model: &M, concept: &ConceptPlan, work: Work) -> Result<f64>
where
    B: TrainBackend,
    M: DiffusionModel<B>,
{
    let sample = blank(model, concept)?;
    let layers = model.cross_attention_layers();
    let words = concept.config.tokens;
    let rows = words.words() * words.embeddings_per_word(layers);
    let embeddings = Tensor::zeros([rows, model.token_width()], &model.device());
    let denoising = DenoisingLoss { model, schedule: model.noise_schedule(), min_snr_gamma: None };
    let (attention, prior_weight) = (concept.config.attention(), concept.config.prior_weight);
    let loss = TrainingLoss { denoising, attention, prior_weight };
    let time = || {
        let start = Instant::now();
        // Reading the number waits for the device.
        scalar(loss.loss(&DualAdapters::none(), Some(&embeddings), &sample).primal);
        start.elapsed()
    };
    let first = time();
    let once = if first < SHORT { first.min(time()) } else { first };
    // Low memory runs most layers forward twice, in a Hessian product with tangents.
    let again = if concept.config.memory == Memory::Low { 1.0 } else { 0.0 };
    let losses = (LOSSES_PER_GRADIENT + again) * work.gradients as f64
        + (LOSSES_PER_PRODUCT + 2.0 * again) * work.hessian_products as f64;
    let parts = concept.config.batch as f64 / concept.config.images_at_once() as f64;
    Ok(once.as_secs_f64() * parts * losses)
}

/// A sample of nothing, as large as the parts of the run's minibatches.
fn blank<B: KernelBackend, M: DiffusionModel<B>>(
    model: &M,
    concept: &ConceptPlan,
) -> Result<DenoisingSample<B>> {
    let ConceptPlan { data, config, .. } = concept;
    let (layers, device) = (model.cross_attention_layers(), model.device());
    let images = config.images_at_once();
    let vocabulary = concept_vocabulary(data.id(), config, layers);
    let prompt = tokens(model, &vocabulary, (*data, config), "{}")?;
    let side = resolution(config, model)? / model.downscale();
    let zeros = |channels| zeros::<B>([images, channels, side, side], &device);
    let latents = zeros(model.latent_channels());
    let timesteps = vec![model.noise_schedule().num_train_timesteps() / 2; images];
    let prior = (config.prior_weight > 0.0).then(|| {
        let class = class_tokens(model, *data, "{}")?;
        let (class, none) = (vec![class; images], Vocabulary::default());
        let [input, target] = [latents.clone(), latents.clone()];
        let prompts = TextBatch::new(&class, &none, layers, &device);
        let mask = zeros(1).add_scalar(1.0);
        Ok::<_, Error>(PriorSample { input, timesteps: timesteps.clone(), target, mask, prompts })
    });
    Ok(DenoisingSample {
        noise: latents.clone(),
        latents,
        timesteps,
        mask: zeros(1).add_scalar(1.0),
        subject: config.attention().map(|_| zeros(1).add_scalar(1.0)),
        prompts: TextBatch::new(&vec![prompt; images], &vocabulary, layers, &device),
        prior: prior.transpose()?,
    })
}

fn zeros<B: Backend>(shape: [usize; 4], device: &B::Device) -> Tensor<B, 4> {
    Tensor::zeros(shape, device)
}
