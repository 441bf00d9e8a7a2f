//! The loss as a function of a concept's parameters, and its derivatives by [`burn_jvp`].

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_jvp::{Dual, Parameters, Vector};
use seqlora_kernels::lora_linear::LoraFactors;
use seqlora_kernels::{ActivationCache, CachePass, KernelBackend, TrainBackend};

use crate::lora::{AdapterSet, DualAdapters, Factors};

/// All that is trained for one concept.
#[derive(Debug, Clone)]
pub struct ConceptParameters<B: Backend> {
    /// A and B.
    pub adapters: AdapterSet<B>,
    /// The concept's token embeddings `[embeddings, width]`.
    pub embeddings: Option<Tensor<B, 2>>,
}

/// A loss that is a pure function of the parameters and of one sample.
///
/// A sample holds everything random (noise, timesteps, crops), so that a second-order pass can
/// replay exactly what a first-order pass saw.
pub trait Objective<B: KernelBackend> {
    /// One minibatch with its noise and timesteps.
    type Sample;

    /// The loss, `[1]`.
    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &Self::Sample,
    ) -> Dual<B, 1>;

    /// The loss on one sample, as a function of the parameters alone.
    fn on<'a>(
        &'a self,
        sample: &'a Self::Sample,
    ) -> impl Fn(&DualAdapters<B>, Option<&Tensor<B, 2>>) -> Dual<B, 1> + 'a {
        move |adapters, embeddings| self.loss(adapters, embeddings, sample)
    }
}

/// A loss as a function of the parameters alone.
pub type Loss<'a, B> = dyn Fn(&DualAdapters<B>, Option<&Tensor<B, 2>>) -> Dual<B, 1> + 'a;

/// Which parameters a gradient is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrt {
    /// A alone: the inner steps.
    Up,
    /// A and the token embeddings: B is never trained.
    UpAndEmbeddings,
    /// A, B and the token embeddings.
    All,
}

/// The value of the loss and its gradient.
#[derive(Debug, Clone)]
pub struct Gradient<B: Backend> {
    /// L, `[1]` on the device.
    pub loss: Tensor<B, 1>,
    /// ∇_A L
    pub up: Factors<B>,
    /// ∇_B L; no site if it was not asked for.
    pub down: Factors<B>,
    /// The gradient in the token embeddings, if the loss has them and they were asked for.
    pub embeddings: Option<Tensor<B, 2>>,
}

/// ∇²_AA L V and ∇²_BA L V, over all sites jointly.
#[derive(Debug, Clone)]
pub struct HessianProduct<B: Backend> {
    /// ∇²_AA L V
    pub up: Factors<B>,
    /// ∇²_BA L V
    pub down: Factors<B>,
}

/// Value and gradient of the loss by one backward pass.
pub fn gradient<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    wrt: Wrt,
) -> Gradient<B::InnerBackend> {
    gradient_within(loss, at, wrt, None)
}

/// [`gradient`], with the activations whose arithmetic intensity is at least `least`, for
/// [`hessian_product_with_cache`] of the same loss at the same point.
pub fn gradient_with_cache<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    wrt: Wrt,
    least: usize,
) -> (Gradient<B::InnerBackend>, ActivationCache) {
    ActivationCache::record(least, |pass| gradient_within(loss, at, wrt, Some(pass)))
}

fn gradient_within<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    wrt: Wrt,
    pass: Option<&CachePass>,
) -> Gradient<B::InnerBackend> {
    let layout = Layout::of(at);
    let wanted = |number| match wrt {
        Wrt::Up => layout.is_up(number),
        Wrt::UpAndEmbeddings => layout.is_up(number) || layout.is_embeddings(number),
        Wrt::All => true,
    };
    let found = burn_jvp::gradient::<B>(|p| layout.evaluate(loss, p, pass), &at.vector(), wanted);
    let (AdapterSet { up, down }, embeddings) = layout.split(&found.gradient);
    Gradient { loss: found.value, up, down, embeddings }
}

/// Both Hessian products by one backward pass of φ = ⟨∇_A L, V⟩.
pub fn hessian_product<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
) -> HessianProduct<B::InnerBackend> {
    hessian_product_within(loss, at, direction, None)
}

/// [`hessian_product`], with the activations of the gradient at the same point.
///
/// # Panics
/// If the loss runs other operations than in the gradient, which need not show where their shapes agree.
pub fn hessian_product_with_cache<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
    cache: &ActivationCache,
) -> HessianProduct<B::InnerBackend> {
    cache.reuse(|pass| hessian_product_within(loss, at, direction, Some(pass)))
}

fn hessian_product_within<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
    pass: Option<&CachePass>,
) -> HessianProduct<B::InnerBackend> {
    let layout = Layout::of(at);
    let loss = |p: &Parameters<B>| layout.evaluate(loss, p, pass);
    let along = layout.along(direction);
    let factors = |number| !layout.is_embeddings(number);
    layout.product(&burn_jvp::hessian_product::<B>(loss, &at.vector(), &along, factors))
}

/// Both Hessian products by central differences of two gradients, `step` long in the direction.
pub fn hessian_product_by_differences<B: TrainBackend>(
    loss: &Loss<'_, B>,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
    step: f64,
) -> HessianProduct<B::InnerBackend> {
    let layout = Layout::of(at);
    let loss = |p: &Parameters<B>| layout.evaluate(loss, p, None);
    let along = layout.along(direction);
    let factors = |number| !layout.is_embeddings(number);
    let at = at.vector();
    layout.product(&burn_jvp::hessian_product_by_differences::<B>(loss, &at, &along, factors, step))
}

impl<B: Backend> ConceptParameters<B> {
    /// A of all sites, B of all sites, token embeddings.
    fn vector(&self) -> Vector<B> {
        let mut vector = Vector::default();
        for factors in [&self.adapters.up, &self.adapters.down] {
            (0..factors.len()).for_each(|site| vector.push(factors.get(site)));
        }
        vector.push(self.embeddings.clone());
        vector
    }
}

/// Where the parts of [`ConceptParameters`] lie in a [`Vector`].
#[derive(Debug, Clone, Copy)]
struct Layout {
    sites: usize,
}

impl Layout {
    fn of<B: Backend>(parameters: &ConceptParameters<B>) -> Self {
        Self { sites: parameters.adapters.up.len() }
    }

    fn is_up(self, number: usize) -> bool {
        number < self.sites
    }

    fn is_embeddings(self, number: usize) -> bool {
        number == 2 * self.sites
    }

    /// The vector that moves A alone.
    fn along<B: Backend>(self, direction: &Factors<B>) -> Vector<B> {
        let mut vector = Vector::default();
        (0..self.sites).for_each(|site| vector.push(direction.get(site)));
        (self.sites..=2 * self.sites).for_each(|_| vector.push::<2>(None));
        vector
    }

    fn evaluate<B: KernelBackend>(
        self,
        loss: &Loss<'_, B>,
        parameters: &Parameters<B>,
        pass: Option<&CachePass>,
    ) -> Dual<B, 1> {
        let site = |site| {
            let (up, down) = (parameters.find(site)?, parameters.find(self.sites + site)?);
            Some(LoraFactors { up, down })
        };
        let adapters = DualAdapters::new((0..self.sites).map(site).collect()).with_pass(pass);
        let embeddings = parameters.find::<2>(2 * self.sites).map(|dual| dual.primal);
        loss(&adapters, embeddings.as_ref())
    }

    fn split<B: Backend>(self, vector: &Vector<B>) -> (AdapterSet<B>, Option<Tensor<B, 2>>) {
        let factors =
            |first| Factors::new((0..self.sites).map(|s| vector.get(first + s)).collect());
        let adapters = AdapterSet { up: factors(0), down: factors(self.sites) };
        (adapters, vector.get(2 * self.sites))
    }

    fn product<B: Backend>(self, vector: &Vector<B>) -> HessianProduct<B> {
        let (AdapterSet { up, down }, _) = self.split(vector);
        HessianProduct { up, down }
    }
}
