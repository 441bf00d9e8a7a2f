//! The model as a whole: passes through the UNet, derivatives of the loss, iterations, sampling.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use burn_seqlora::diffusion::sampler::{SamplerKind, SamplerPlan};
use burn_seqlora::diffusion::{
    Conditioning, Context, DenoisingLoss, DenoisingSample, Guidance, sample,
};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::{TrainBackend, ops};
use burn_seqlora::lora::directions::{Columns, fresh_directions, from_columns};
use burn_seqlora::lora::{AdapterSet, Bases, DualAdapters, Factors, Feasible};
use burn_seqlora::methods::{self, Constraint, TrainState};
use burn_seqlora::model::{Denoiser, DiffusionModel, LatentCodec, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::objective::{Objective, Wrt, gradient, hessian_product};
use burn_seqlora::precision::Precision;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::text::TextBatch;
use burn_seqlora::train::prompts::concept_vocabulary;
use burn_seqlora::train::{Trainer, plan_ranks};

use crate::failure::Failure;
use crate::row::Row;

/// Earlier concepts in the projection's row, and members of the composition.
const CONCEPTS: usize = 101;

/// What the rows on the whole model share.
pub struct Setup<B: TrainBackend> {
    model: StableDiffusion<B>,
    config: TrainConfig,
    sample: DenoisingSample<B>,
    side: usize,
}

impl<B: TrainBackend> Setup<B> {
    /// Draws a minibatch of one image.
    ///
    /// # Errors
    /// If the prompt does not fit the tokenizer.
    pub fn new(
        model: StableDiffusion<B>,
        precision: Precision,
        resolution: usize,
    ) -> Result<Self, Failure> {
        let config =
            TrainConfig { outer: 1, inner: 2, batch: 1, precision, ..TrainConfig::default() };
        let side = resolution / model.downscale();
        let device = DiffusionModel::<B>::device(&model);
        let layers = model.cross_attention_layers();
        let vocabulary = concept_vocabulary("dog", &config, layers);
        let tokens = model.tokenize(&vocabulary.split("a photo of a <dog>")?)?;
        let mut rng = Seed::new(0).at(0);
        let mut draw = || normal([1, model.latent_channels(), side, side], &mut rng, &device);
        let sample = DenoisingSample {
            latents: draw(),
            noise: draw(),
            timesteps: vec![500],
            mask: Tensor::ones([1, 1, side, side], &device),
            subject: None,
            prior: None,
            prompts: TextBatch::new(&[tokens], &vocabulary, layers, &device),
        };
        Ok(Self { model, config, sample, side })
    }

    /// All rows.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let loss = || DenoisingLoss {
            model: &self.model,
            schedule: self.model.noise_schedule(),
            min_snr_gamma: None,
        };
        vec![
            Row::new("unet_forward", || self.unet_forward()),
            Row::new("loss_forward", move || {
                let (loss, state) = (loss(), self.state());
                move || {
                    let adapters = AdapterSet::<B>::untracked(&state.parameters.adapters);
                    let embeddings = state.parameters.embeddings.clone().map(Tensor::from_inner);
                    loss.loss(&adapters.constant(), embeddings.as_ref(), &self.sample);
                    self.sync();
                }
            }),
            Row::new("lora_gradient", move || {
                let (loss, state) = (loss(), self.state());
                move || {
                    gradient::<B>(&loss.on(&self.sample), &state.parameters, Wrt::All);
                    self.sync();
                }
            }),
            Row::new("hessian_product", move || {
                let (loss, state) = (loss(), self.state());
                let direction = state.parameters.adapters.up.map(|_, a| a.ones_like());
                move || {
                    hessian_product::<B>(&loss.on(&self.sample), &state.parameters, &direction);
                    self.sync();
                }
            }),
            Row::new("seqlora_iteration", || self.iteration("seqlora")),
            Row::new("alternating_iteration", || self.iteration("alternating")),
            Row::new("project_100", || self.projection()),
            Row::new("compose_101_factors", || self.composition()),
            Row::new("sample_25", || self.sampling()),
        ]
    }

    fn device(&self) -> B::Device {
        DiffusionModel::<B>::device(&self.model)
    }

    fn sync(&self) {
        B::sync(&self.device()).expect("the device answers");
    }

    fn draw<const D: usize>(&self, shape: [usize; D]) -> Tensor<B, D> {
        normal(shape, &mut Seed::new(1).at(0), &self.device())
    }

    fn conditioning(&self, prompts: usize) -> Conditioning<B> {
        let width = self.model.config().unet.cross_attention_dim;
        let context = Dual::constant(self.draw([prompts, 77, width]));
        Context::new(context.cast(self.config.precision.dtype()), 1).into()
    }

    fn unet_forward(&self) -> impl FnMut() {
        let latents = self.draw([1, self.model.latent_channels(), self.side, self.side]);
        let conditioning = self.conditioning(1);
        move || {
            let noise = Dual::constant(latents.clone());
            let timesteps = Tensor::from_data([500.0], &self.device());
            self.model.predict(noise, timesteps, &conditioning, &DualAdapters::none());
            self.sync();
        }
    }

    /// An adapter as after some training: with A = 0 some products would vanish.
    fn state(&self) -> TrainState<B::InnerBackend> {
        let (config, sites) = (&self.config, self.model.sites());
        let occupied = vec![Columns::new(); sites.len()];
        let used = vec![0; sites.len()];
        let plan = plan_ranks(sites, &used, config, Constraint::EarlierConcepts);
        let words = config.tokens.words();
        let layers = self.model.cross_attention_layers();
        let count = words * config.tokens.embeddings_per_word(layers);
        let embeddings = Tensor::zeros([count, self.model.token_width()], &self.device());
        let (method, seed) = (&methods::SeqLora, Seed::new(0));
        let ranks = &plan.ranks;
        let mut state = TrainState::new::<B>(
            method,
            config,
            sites,
            ranks,
            &Feasible::outside(&occupied),
            embeddings,
            &seed,
        );
        let AdapterSet { up, down } = state.parameters.adapters;
        let up = up.map(|_, a| a.add_scalar(1e-3));
        state.parameters.adapters = AdapterSet { up, down };
        state
    }

    fn iteration(&self, name: &str) -> impl FnMut() {
        let mut state = self.state();
        let method = methods::by_name::<B>(name).expect("a known method");
        let settings = TrainConfig { method: name.into(), ..self.config.clone() };
        move || {
            let loss = DenoisingLoss {
                model: &self.model,
                schedule: self.model.noise_schedule(),
                min_snr_gamma: None,
            };
            let sites = self.model.sites();
            let basis = Bases::default();
            let (objective, settings, basis) = (&loss, &settings, &basis);
            let trainer = Trainer::<B, _> { objective, method, settings, sites, basis };
            trainer.step(&mut state, |_, _| &self.sample);
            self.sync();
        }
    }

    /// Each site's B against the directions of a hundred concepts, as many as fit.
    fn projection(&self) -> impl FnMut() {
        let (rank, device) = (self.config.rank, self.device());
        let state = self.state();
        let down = state.parameters.adapters.down;
        // A basis for each site, as in a bank: shared ones would stay in the cache. Directions of
        // the same width are drawn once, which takes a while.
        let mut drawn = BTreeMap::new();
        let bases = down.map(|_, b| {
            let [inputs, _] = b.dims();
            let count = ((CONCEPTS - 1) * rank).min(inputs - rank);
            let values = drawn.entry(inputs).or_insert_with(|| {
                let mut rng = Seed::new(2).at(inputs as u64);
                from_columns(&fresh_directions(inputs, count, &Vec::new(), &mut rng))
            });
            Tensor::from_data(TensorData::new(values.clone(), [inputs, count]), &device)
        });
        move || {
            down.map(|site, b| {
                let basis = bases.get(site).expect("a basis for each site");
                ops::project(b, basis)
            });
            self.sync();
        }
    }

    /// The factors of all members concatenated, which is all that composing takes.
    fn composition(&self) -> impl FnMut() {
        let members: Vec<_> = (0..CONCEPTS).map(|_| self.state().parameters.adapters).collect();
        move || {
            let stack = |factors: fn(&AdapterSet<B::InnerBackend>) -> &Factors<B::InnerBackend>| {
                factors(&members[0]).map(|site, _| {
                    let matrices = members.iter().filter_map(|m| factors(m).get(site));
                    Tensor::cat(matrices.collect(), 1)
                })
            };
            let _ = (stack(|m| &m.up), stack(|m| &m.down));
            self.sync();
        }
    }

    /// 25 DDIM steps with guidance, and the decoder.
    fn sampling(&self) -> impl FnMut() {
        let noise = self.draw([1, self.model.latent_channels(), self.side, self.side]);
        let guidance =
            Guidance { prompt: self.conditioning(1), negative: self.conditioning(1), scale: 7.5 };
        let scheduler = self.model.config().scheduler.clone();
        let plan = SamplerPlan::new(SamplerKind::Ddim, &scheduler, 25).expect("25 steps of DDIM");
        move || {
            let none = DualAdapters::none();
            let (start, fresh) = (noise.clone(), |_| unreachable!("DDIM draws nothing"));
            let latents = sample(&self.model, &none, &guidance, &plan, start, fresh, |_| true);
            self.model.decode_latents(latents.expect("nobody stops it"));
            self.sync();
        }
    }
}
