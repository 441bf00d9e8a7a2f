//! Training toys: step by step, concept by concept, and the inner steps written down once more.

use crate::derivatives::InnerStep;
use crate::derivatives::{ConceptParameters, gradient_with_cache};
use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::kernels::{KernelBackend, TrainBackend};
use burn_seqlora::lora::directions::{Columns, orthonormal_gauge};
use burn_seqlora::lora::{AdapterSet, Bases, Factors, Feasible};
use burn_seqlora::methods::{self, Method, TrainState};
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::{LrSchedule, TrainConfig};
use burn_seqlora::train::{StepReport, Trainer};

use super::{Net, Sample, Toy, columns, matrix};

/// The method that the settings name.
pub fn method<D: TrainBackend>(config: &TrainConfig) -> &'static dyn Method<D> {
    methods::by_name(&config.method).unwrap()
}

/// Settings for toys: constant rates, nothing but the loss.
pub fn config() -> TrainConfig {
    TrainConfig {
        outer: 1,
        lr_schedule: LrSchedule::Constant,
        lr_unet: 0.02,
        ridge: 0.0,
        weight_decay: 0.0,
        ..TrainConfig::default()
    }
}

impl Toy {
    /// Q on the device.
    pub fn basis<B: Backend>(self, occupied: &[Columns]) -> Bases<B> {
        let basis = |q: &Columns| (!q.is_empty()).then(|| matrix(q, self.dtype));
        Bases::new(occupied.iter().map(basis).collect())
    }

    /// What a new concept starts from, with the trainer's own directions.
    pub fn state<B: KernelBackend>(
        self,
        config: &TrainConfig,
        ranks: &[usize],
        occupied: &[Columns],
        concept: u64,
    ) -> TrainState<B> {
        let embeddings = Tensor::zeros([1, 1], &B::Device::default());
        let seed = Seed::new(concept);
        let mut state = TrainState::new(
            method::<Autodiff<B>>(config),
            config,
            &self.sites(),
            ranks,
            &Feasible::outside(occupied),
            embeddings,
            &seed,
        );
        let TrainState { parameters, inner, outer, .. } = &mut state;
        let AdapterSet { up, down } = &mut parameters.adapters;
        for factors in [
            up,
            down,
            &mut inner.first,
            &mut inner.second.mean,
            &mut outer.first,
            &mut outer.second.mean,
        ] {
            *factors = factors.map(|_, m| m.cast(self.dtype));
        }
        state
    }
}

/// Trains one concept on minibatches `sample(step)` and returns its state with the reports.
pub fn train<B: KernelBackend>(
    bilevel: &Trainer<Autodiff<B>, Net<Autodiff<B>>>,
    mut state: TrainState<B>,
    sample: impl Fn(usize) -> Sample<Autodiff<B>>,
) -> (TrainState<B>, Vec<StepReport>) {
    let step = |number| {
        let sample = sample(number);
        bilevel.step(&mut state, |_, _| &sample)
    };
    let reports = (0..bilevel.settings.steps).map(step).collect();
    (state, reports)
}

/// Learns `concepts` single-layer adapters one after the other, each on one minibatch.
///
/// Their directions are kept on the host without rounding, so that the laws of orthogonality hold
/// to the precision of the numbers.
pub fn learn_in_turn<B: KernelBackend>(
    toy: Toy,
    config: &TrainConfig,
    concepts: u64,
    sample: impl Fn(u64) -> Sample<Autodiff<B>>,
) -> Vec<AdapterSet<B>> {
    let (net, sites) = (toy.net(), toy.sites());
    let mut occupied = vec![Columns::new()];
    let learn = |concept| {
        let basis = toy.basis(&occupied);
        let bilevel = Trainer {
            objective: &net,
            method: method(config),
            settings: config,
            sites: &sites,
            basis: &basis,
        };
        let start = toy.state(config, &[toy.rank], &occupied, concept);
        let (state, _) = train(&bilevel, start, |_| sample(concept));
        let adapters = state.parameters.adapters;
        let down = columns(&adapters.down.get(0).unwrap());
        let (directions, _) = orthonormal_gauge(down, &occupied[0]);
        occupied[0].extend(directions);
        adapters
    };
    (0..concepts).map(learn).collect()
}

/// `[A₁ … A_N]` and `[B₁ … B_N]` at a single layer.
pub fn together<B: Backend>(concepts: &[AdapterSet<B>]) -> AdapterSet<B> {
    let stack = |part: fn(&AdapterSet<B>) -> &Factors<B>| {
        let matrices = concepts.iter().map(|c| part(c).get(0).unwrap()).collect();
        Factors::new(vec![Some(Tensor::cat(matrices, 1))])
    };
    AdapterSet { up: stack(|c| &c.up), down: stack(|c| &c.down) }
}

/// Where the inner steps lead, with what is needed to differentiate through them.
#[derive(Debug)]
pub struct Unrolled<'s, B: Backend, S> {
    /// (A_T, B)
    pub end: ConceptParameters<B>,
    /// The steps.
    pub steps: Vec<InnerStep<B, &'s S>>,
}

/// `A_{t+1} = A_t − s_t ∘ (∇_A L(A_t, B; ξ_t) + λ A_t)`, with `s_t = scale(t, gradient)`: written
/// down once more, independently of the trainer.
pub fn unroll<'s, B: KernelBackend, O: Objective<Autodiff<B>>>(
    objective: &O,
    start: &ConceptParameters<B>,
    samples: &'s [O::Sample],
    ridge: f64,
    mut scale: impl FnMut(usize, &Factors<B>) -> Factors<B>,
) -> Unrolled<'s, B, O::Sample> {
    let mut end = start.clone();
    let mut steps = Vec::new();
    for (t, sample) in samples.iter().enumerate() {
        let up = end.adapters.up.clone();
        let (slope, cache) = gradient_with_cache::<Autodiff<B>, O>(objective, &end, sample);
        let slope = slope.axpy(ridge, &up);
        let step = scale(t, &slope);
        end.adapters.up = up.axpy(-1.0, &slope.mul(&step));
        steps.push(InnerStep { up, step, sample, cache: Some(cache) });
    }
    Unrolled { end, steps }
}

/// The same step for all elements: plain gradient descent.
pub fn constant_scales<B: Backend>(rate: f64) -> impl Fn(usize, &Factors<B>) -> Factors<B> {
    move |_, gradient| gradient.map(|_, g| g.ones_like().mul_scalar(rate))
}

/// `α / (√v̂_t + ε)` of Adam, for gradients given in order.
pub fn adam_scales<B: Backend>(rate: f64) -> impl FnMut(usize, &Factors<B>) -> Factors<B> {
    let mut sum: Option<Factors<B>> = None;
    move |t, gradient| {
        let square = gradient.mul(gradient);
        // v_t = (1 − β₂) Σ β₂^(t−i) g_i²
        let decayed = sum.take().map(|v| v.map(|_, v| v.mul_scalar(0.999)));
        let v = decayed.map_or_else(|| square.clone(), |v| v.axpy(1.0, &square));
        sum = Some(v.clone());
        let weight = (1.0 - 0.999) / (1.0 - 0.999f64.powi(t as i32 + 1));
        v.map(|_, v| v.mul_scalar(weight).sqrt().add_scalar(1e-8).recip().mul_scalar(rate))
    }
}
