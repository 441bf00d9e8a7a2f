//! One minibatch of training (docs/math.md, one outer iteration).

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use seqlora_kernels::{Kept, TrainBackend, pair};

use super::state::TrainState;
use crate::adapter::{AdapterSet, Factors, Site};
use crate::config::{OuterOptimizer, Preconditioner, TrainConfig, WarmStart};
use crate::diff::{
    ConceptParameters, Gradient, InnerStep, Objective, Wrt, gradient, hypergradient,
};
use crate::scalar::scalar;

/// The problem that a concept poses: loss, constraint and settings.
#[derive(Debug)]
pub struct Bilevel<'a, B: AutodiffBackend, O> {
    /// L
    pub objective: &'a O,
    /// The method's settings.
    pub config: &'a TrainConfig,
    /// The model's sites.
    pub sites: &'a [Site],
    /// Q: the directions of earlier concepts and those that prompts share; `None` where there are
    /// none. B is kept orthogonal to them if the method is, and compared with them in any case.
    pub basis: &'a Factors<B::InnerBackend>,
}

/// What one minibatch did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The minibatch's number, from 1.
    pub step: usize,
    /// The loss at the last outer gradient.
    pub loss: f64,
    /// Norm of the projected hypergradient, which is ∇_B L without levels.
    pub hypergradient: f64,
    /// Largest |entry| of Qᵀ B with unit columns.
    pub overlap: f64,
    /// Mean norm of the token rows.
    pub row_norm: f64,
}

type InnerSteps<'s, B, S> = Vec<InnerStep<B, &'s S>>;

impl<B, O> Bilevel<'_, B, O>
where
    B: TrainBackend,
    O: Objective<B>,
{
    /// K outer iterations; `sample(k, t)` is ξ of inner step t, and with t = T of the outer gradient.
    ///
    /// A method without levels takes a step in all parameters at each of these T + 1 instead: as
    /// many gradients, and no Hessian products.
    pub fn step<'s>(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        sample: impl Fn(usize, usize) -> &'s O::Sample,
    ) -> StepReport
    where
        O::Sample: 's,
    {
        let mut report = StepReport {
            step: state.step + 1,
            loss: f64::NAN,
            hypergradient: 0.0,
            overlap: 0.0,
            row_norm: 0.0,
        };
        for k in 0..self.config.outer {
            match self.config.method.ingredients().bilevel {
                true => self.outer_iteration(state, |t| sample(k, t), &mut report),
                false => (0..=self.config.inner)
                    .for_each(|t| self.joint_step(state, sample(k, t), &mut report)),
            }
        }
        state.step += 1;
        report.overlap = overlap(&state.parameters.adapters.down, self.basis);
        report
    }

    /// T steps in A, then one in B along the hypergradient and one in the token rows.
    fn outer_iteration<'s>(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        sample: impl Fn(usize) -> &'s O::Sample,
        report: &mut StepReport,
    ) where
        O::Sample: 's,
    {
        let start = (state.parameters.adapters.up.clone(), state.inner.clone());
        let kept_from = self.config.kept_from();
        let steps = self.inner_steps(state, &sample, kept_from);
        let outer = sample(self.config.inner);
        let (ridge, hvp) = (self.config.ridge, self.config.effective_hvp());
        let hyper =
            hypergradient::<B, O>(self.objective, &state.parameters, &steps, outer, ridge, hvp);
        report.loss = hyper.loss;
        let direction = self.project(&hyper.down);
        report.hypergradient = direction.norm();
        self.step_down(state, &direction);
        if self.config.warm_start == WarmStart::Rerun {
            (state.parameters.adapters.up, state.inner) = start;
            self.inner_steps(state, &sample, None);
        }
        if let Some(rows) = hyper.rows {
            report.row_norm = self.step_rows(state, rows);
        }
    }

    /// One step of AdamW in A, B and the token rows, as in ordinary fine-tuning.
    fn joint_step(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        sample: &O::Sample,
        report: &mut StepReport,
    ) {
        let Gradient { loss, up, down, rows } =
            gradient::<B, O>(self.objective, &state.parameters, sample, Wrt::All);
        let direction = self.project(&down);
        (report.loss, report.hypergradient) = (loss, direction.norm());
        let rate = |site| self.rate(site, state.step);
        let weight_decay = self.config.weight_decay;
        let moved = state.inner.step(&state.parameters.adapters.up, &up, rate, weight_decay);
        state.parameters.adapters.up = moved;
        self.step_down(state, &direction);
        if let Some(rows) = rows {
            report.row_norm = self.step_rows(state, rows);
        }
    }

    /// T steps in A; returns what is needed to differentiate through them, with what their
    /// gradients computed if that is wanted.
    fn inner_steps<'s>(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        sample: impl Fn(usize) -> &'s O::Sample,
        kept_from: Option<usize>,
    ) -> InnerSteps<'s, B::InnerBackend, O::Sample>
    where
        O::Sample: 's,
    {
        let step = |t| {
            let sample = sample(t);
            let at = &state.parameters;
            let up = at.adapters.up.clone();
            let gradient = || gradient::<B, O>(self.objective, at, sample, Wrt::Up).up;
            let (gradient, kept) = match kept_from {
                Some(least) => {
                    let (gradient, kept) = Kept::of(least, gradient);
                    (gradient, Some(kept))
                }
                None => (gradient(), None),
            };
            let gradient = gradient.axpy(self.config.ridge, &up);
            let scale = match self.config.preconditioner {
                Preconditioner::Adam => state.inner.second.observe(&gradient),
                Preconditioner::None => up.map(|_, a| a.ones_like()),
            };
            let step = scale.map(|site, p| p.mul_scalar(self.rate(site, state.step)));
            state.parameters.adapters.up = up.axpy(-1.0, &gradient.mul(&step));
            InnerStep { up, step, sample, kept }
        };
        (0..self.config.inner).map(step).collect()
    }

    /// `B ← Π(step(B, Π ∇F))`: element-wise optimisers leave the subspace, so B is projected too.
    fn step_down(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        direction: &Factors<B::InnerBackend>,
    ) {
        let rate = |site| self.rate(site, state.step) * self.config.lr_down_ratio;
        let down = &state.parameters.adapters.down;
        let weight_decay = self.config.weight_decay;
        let moved = match self.config.outer_optimizer {
            OuterOptimizer::AdamW => state.outer.step(down, direction, rate, weight_decay),
            OuterOptimizer::GradientDescent => down.zip_map(direction, |site, b, d| {
                b.mul_scalar(1.0 - rate(site) * weight_decay) - d.mul_scalar(rate(site))
            }),
        };
        state.parameters.adapters.down = self.project(&moved);
    }

    /// AdamW on the token rows until their mean norm reaches its limit; returns that norm.
    fn step_rows(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        gradient: Tensor<B::InnerBackend, 2>,
    ) -> f64 {
        let rows = state.parameters.rows.clone().expect("a gradient in the rows needs rows");
        let norms = (rows.clone() * rows.clone()).sum_dim(1).sqrt();
        let mean_norm = scalar(norms.mean());
        state.rows_frozen |= mean_norm >= self.config.token_norm_limit;
        if !state.rows_frozen {
            let rate = self.config.lr_token * self.config.decay(state.step);
            let [rows, gradient] = [rows, gradient].map(|t| Factors::new(vec![Some(t)]));
            let moved = state.rows.step(&rows, &gradient, |_| rate, self.config.weight_decay);
            state.parameters.rows = moved.get(0).cloned();
        }
        mean_norm
    }

    fn rate(&self, site: usize, step: usize) -> f64 {
        self.config.learning_rate(&self.sites[site], step)
    }

    fn project(&self, down: &Factors<B::InnerBackend>) -> Factors<B::InnerBackend> {
        let orthogonal = self.config.method.ingredients().orthogonal;
        down.map(|site, b| match self.basis.get(site).filter(|_| orthogonal) {
            Some(basis) => pair::project(b, basis.clone()),
            None => b,
        })
    }

    /// The loss without its gradient.
    pub fn loss(&self, at: &ConceptParameters<B::InnerBackend>, sample: &O::Sample) -> f64 {
        let adapters = AdapterSet::<B>::untracked(&at.adapters).constant();
        let rows = at.rows.clone().map(Tensor::from_inner);
        scalar(self.objective.loss(&adapters, rows.as_ref(), sample).primal)
    }
}

/// Largest |entry| of Qᵀ B over all sites, with unit columns; asked for once, since a device is
/// waited for each time.
fn overlap<B: Backend>(down: &Factors<B>, basis: &Factors<B>) -> f64 {
    let of_site = |(site, b): (usize, &Tensor<B, 2>)| {
        let basis = basis.get(site)?.clone();
        let norms = (b.clone() * b.clone()).sum_dim(0).sqrt();
        let unit = b.clone() / norms;
        Some(basis.transpose().matmul(unit).abs().max())
    };
    let largest: Vec<Tensor<B, 1>> = down.iter().filter_map(of_site).collect();
    if largest.is_empty() { 0.0 } else { scalar(Tensor::cat(largest, 0).max()) }
}
