//! One minibatch of training by any method, and what is reported of it.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_jvp::{Dual, total};
use seqlora_kernels::TrainBackend;
use seqlora_kernels::matmul::{MatMul, Times};

use crate::lora::{AdapterSet, Bases, DualAdapters, Factors, Site};
use crate::methods::{Losses, Method, Problem, StepTensors, TrainState};
use crate::objective::{ConceptParameters, Objective};
use crate::precision::Precision;
use crate::read::{self, scalar};
use crate::settings::TrainConfig;

/// The problem that a concept poses: loss, method, constraint and settings.
#[derive(Debug)]
pub struct Trainer<'a, B: TrainBackend, O> {
    /// L
    pub objective: &'a O,
    /// What moves the parameters.
    pub method: &'a dyn Method<B>,
    /// The free choices.
    pub settings: &'a TrainConfig,
    /// The model's sites.
    pub sites: &'a [Site],
    /// Where B may lie: in a subspace, if there is one, and orthogonal to the directions Q of earlier concepts and to
    /// the protected ones. It is kept there if the method is orthogonal, and compared with Q in any case.
    pub basis: &'a Bases<B::InnerBackend>,
}

/// What one minibatch did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The minibatch's number, from 1.
    pub step: usize,
    /// The loss at the last gradient in all parameters.
    pub loss: f64,
    /// Norm of the projected hypergradient, which is ∇_B L without levels, and ∇_A L where B is never
    /// trained.
    pub hypergradient: f64,
    /// Mutual coherence with Q: the largest |entry| of Qᵀ B with unit columns, both rounded to the
    /// precision in which layers take them.
    pub overlap: f64,
    /// Mean norm of the token embeddings.
    pub embedding_norm: f64,
}

/// The losses of a minibatch whose samples are known.
struct Minibatch<'a, O, F> {
    objective: &'a O,
    /// The sample of an evaluation (k, t).
    sample: F,
}

impl<'s, B, O, F> Losses<B> for Minibatch<'s, O, F>
where
    B: TrainBackend,
    O: Objective<B, Sample: 's>,
    F: Fn(usize, usize) -> &'s O::Sample,
{
    fn loss(
        &self,
        (k, t): (usize, usize),
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
    ) -> Dual<B, 1> {
        self.objective.loss(adapters, embeddings, (self.sample)(k, t))
    }
}

impl<B: TrainBackend, O: Objective<B>> Trainer<'_, B, O> {
    /// One minibatch; `sample(k, t)` is ξ of inner step t in outer iteration k, and with t = T that of
    /// the outer gradient. Waits for the device once.
    pub fn step<'s>(
        &'s self,
        state: &mut TrainState<B::InnerBackend>,
        sample: impl Fn(usize, usize) -> &'s O::Sample,
    ) -> StepReport
    where
        O::Sample: 's,
    {
        let losses = Minibatch { objective: self.objective, sample };
        let nothing = Bases::default();
        let orthogonal = self.method.constraint().is_orthogonal();
        let feasible = if orthogonal { self.basis } else { &nothing };
        let Self { settings, sites, .. } = *self;
        let problem = Problem { losses: &losses, settings, sites, feasible };
        let tensors = self.method.step(&problem, state);
        state.step += 1;
        self.report(state, tensors)
    }

    /// Reads back all that a minibatch left on the device, at once.
    fn report(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        tensors: StepTensors<B::InnerBackend>,
    ) -> StepReport {
        let StepTensors { loss, slope, embedding_norm } = tensors;
        let dtype = loss.dtype();
        let zero = Tensor::zeros([1], &loss.device());
        let overlap = overlap(&state.parameters.adapters.down, self.basis, self.settings.precision);
        let frozen = state.freezing.take().map(|frozen| frozen.float());
        let numbers = [Some(loss), Some(slope), overlap, embedding_norm, frozen];
        let numbers = numbers.map(|number| number.unwrap_or_else(|| zero.clone()).cast(dtype));
        let numbers: Vec<f64> = read::data(Tensor::cat(numbers.to_vec(), 0)).iter().collect();
        state.embeddings_frozen |= numbers[4] != 0.0;
        StepReport {
            step: state.step,
            loss: numbers[0],
            hypergradient: numbers[1],
            overlap: numbers[2],
            embedding_norm: numbers[3],
        }
    }

    /// The loss without its gradient.
    pub fn loss(&self, at: &ConceptParameters<B::InnerBackend>, sample: &O::Sample) -> f64 {
        let adapters = AdapterSet::<B>::untracked(&at.adapters).constant();
        let embeddings = at.embeddings.clone().map(Tensor::from_inner);
        scalar(self.objective.loss(&adapters, embeddings.as_ref(), sample).primal)
    }
}

/// Largest |entry| of Qᵀ B over all sites, with unit columns, `[1]`; `None` if there is no Q. A column of
/// zeros shares no direction; NaN if one is not finite.
fn overlap<B: MatMul>(
    down: &Factors<B>,
    basis: &Bases<B>,
    precision: Precision,
) -> Option<Tensor<B, 1>> {
    let of_site = |(site, b): (usize, Tensor<B, 2>)| {
        let [basis, b] = [basis.get(site)?.clone(), b].map(|t| rounded(t, precision));
        let norms = (b.clone() * b.clone()).sum_dim(0).sqrt().clamp_min(f32::MIN_POSITIVE);
        let unit = b / norms;
        let entries = basis.transpose().times(unit).abs();
        // Not every backend's maximum keeps a NaN: this adds zero, or NaN.
        let not_finite = total(entries.clone() - entries.clone());
        Some(entries.max() + not_finite)
    };
    let largest: Vec<Tensor<B, 1>> = down.iter().filter_map(of_site).collect();
    let greatest = |largest: Tensor<B, 1>| largest.clone().max() + total(largest.clone() - largest);
    (!largest.is_empty()).then(|| greatest(Tensor::cat(largest, 0)))
}

/// Numbers as layers of this precision take them.
fn rounded<B: Backend>(numbers: Tensor<B, 2>, precision: Precision) -> Tensor<B, 2> {
    let dtype = numbers.dtype();
    match precision {
        Precision::F32 => numbers,
        precision => numbers.cast(precision.dtype()).cast(dtype),
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::backend::Autodiff;
    use seqlora_kernels::Flex;

    use super::*;
    use crate::lora::Feasible;
    use crate::lora::{Part, Role};
    use crate::methods;
    use crate::read::tests::count;
    use crate::rng::Seed;

    type B = Autodiff<Flex>;

    /// `‖x (W + A Bᵀ)ᵀ + e‖²`, where e are the token embeddings.
    struct Layer(Tensor<B, 2>);

    impl Objective<B> for Layer {
        type Sample = Tensor<B, 2>;

        fn loss(
            &self,
            adapters: &DualAdapters<B>,
            embeddings: Option<&Tensor<B, 2>>,
            sample: &Tensor<B, 2>,
        ) -> Dual<B, 1> {
            let x = Dual::constant(sample.clone());
            let y = adapters.linear(Some(0), x, self.0.clone(), None);
            let y = y.add_constant(embeddings.expect("token embeddings").clone());
            (y.clone() * y).sum()
        }
    }

    /// With all five numbers to report: an earlier direction to compare B with, and token embeddings.
    #[test]
    fn a_minibatch_is_read_once() {
        let (inputs, outputs, device) = (6, 5, Default::default());
        let (part, role) = (Part::Denoiser, Role::SelfAttention);
        let sites = [Site { name: "layer".into(), inputs, outputs, part, role }];
        let taken = vec![vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
        let q = Tensor::<Flex, 2>::eye(inputs, &device).narrow(1, 0, 1);
        let settings = TrainConfig { outer: 3, inner: 2, ..TrainConfig::default() };
        let layer = Layer(Tensor::ones([outputs, inputs], &device));
        let sample = Tensor::ones([2, inputs], &device);
        for method in methods::all::<B>() {
            let (embeddings, seed) = (Tensor::ones([2, outputs], &device), Seed::new(0));
            let feasible = [Feasible::from(taken.clone())];
            let mut state =
                TrainState::new(method, &settings, &sites, &[2], &feasible, embeddings, &seed);
            let basis = Bases::new(vec![Some(q.clone())]);
            let (objective, settings, sites) = (&layer, &settings, &sites[..]);
            let trainer = Trainer { objective, method, settings, sites, basis: &basis };
            let reads = count(|| {
                let report = trainer.step(&mut state, |_, _| &sample);
                assert!(report.loss > 0.0 && report.hypergradient > 0.0 && report.overlap >= 0.0);
            });
            assert_eq!(reads, 1, "{}", method.name());
        }
    }

    /// At the first of two sites a column is no number; one of zeros shares nothing.
    #[test]
    fn no_nan_vanishes_in_the_overlap() {
        let device = Default::default();
        let q = Tensor::<Flex, 2>::eye(3, &device).narrow(1, 0, 1);
        let basis = Bases::new(vec![Some(q.clone()), Some(q)]);
        let column =
            |numbers: [f32; 3]| Some(Tensor::<Flex, 2>::from_data([numbers], &device).transpose());
        let with = |numbers: [f32; 3]| {
            let down = Factors::new(vec![column(numbers), column([3.0, 4.0, 0.0])]);
            scalar(overlap(&down, &basis, Precision::F32).expect("there is a basis"))
        };
        assert!((with([0.0; 3]) - 0.6).abs() < 1e-6);
        for number in [f32::NAN, f32::INFINITY] {
            assert!(with([number, 1.0, 0.0]).is_nan());
        }
    }
}
