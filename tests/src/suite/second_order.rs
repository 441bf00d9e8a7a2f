//! Gradient, Hessian products and hypergradient of the whole model against PyTorch's double
//! backward in f64 (text encoder and UNet, 44 sites).

use crate::derivatives::{
    ConceptParameters, Hvp, Wrt, gradient, gradient_with_cache, hessian_product,
    hessian_product_fd, number,
};
use crate::derivatives::{InnerStep, hypergradient};
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};
use burn_seqlora::diffusion::{
    AttentionRegularization, DenoisingLoss, DenoisingSample, Noised, PriorSample, TrainingLoss,
    noised,
};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::{AdapterSet, Factors, Site};
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::{ModelSource, SourceOptions, StableDiffusion};
use burn_seqlora::objective::{Objective, hessian_product_with_cache};
use burn_seqlora::precision::Precision;
use burn_seqlora::settings::Memory;
use burn_seqlora::text::TextBatch;
use burn_seqlora::{MicroBatch, MicroBatches};

use super::kernel_laws::Stored;
use crate::fixtures;
use crate::fixtures::{Fixture, assert_identical, assert_near, distance};

/// The loss of the tiny model on the backend D, the one that is differentiated.
pub(super) type Loss<'a, D> = DenoisingLoss<'a, StableDiffusion<D>>;

/// The fixture's point, samples and expected derivatives.
pub(super) struct Problem<D: KernelBackend> {
    model: StableDiffusion<D>,
    fixture: Fixture,
}

impl<D: KernelBackend> Problem<D> {
    pub(super) fn new() -> Self {
        Self::with_weights_in(Precision::F32)
    }

    fn with_weights_in(precision: Precision) -> Self {
        let folder = fixtures::path("tiny-sd1");
        let source = ModelSource::open(&folder, &SourceOptions::default()).unwrap();
        let model = StableDiffusion::from_source(&source, precision, &D::Device::default());
        Self { model: model.unwrap(), fixture: Fixture::open("second_order_sd1.safetensors") }
    }

    pub(super) fn loss(&self) -> Loss<'_, D> {
        DenoisingLoss {
            model: &self.model,
            schedule: self.model.noise_schedule(),
            min_snr_gamma: None,
        }
    }

    /// One matrix per site that the fixture has under `kind`.
    pub(super) fn factors<B: Backend>(&self, kind: &str) -> Factors<B> {
        let names = self.fixture.names();
        let matrix = |site: &Site| {
            let name = format!("{kind}.{}", site.name);
            names.contains(&name).then(|| self.fixture.float(&name))
        };
        let factors = Factors::new(self.model.sites().iter().map(matrix).collect());
        assert_eq!(factors.iter().count(), 44, "{kind}");
        factors
    }

    pub(super) fn parameters<B: Backend>(&self) -> ConceptParameters<B> {
        let adapters = AdapterSet { up: self.factors("A"), down: self.factors("B") };
        ConceptParameters { adapters, embeddings: None }
    }

    /// ξ: `prefix` is empty for the outer sample, `inner0.` or `inner1.` for inner steps.
    pub(super) fn sample(&self, prefix: &str) -> DenoisingSample<D> {
        let float = |name: &str| self.fixture.float(name);
        let steps = self.fixture.integers(&format!("{prefix}timesteps"));
        let ids = self.fixture.ids("input_ids");
        DenoisingSample {
            latents: float("latents"),
            noise: float(&format!("{prefix}noise")),
            timesteps: steps.into_iter().map(|t| t as usize).collect(),
            mask: float("mask"),
            subject: None,
            prior: None,
            prompts: TextBatch { ids, gather: None, copies: 1, words: Vec::new() },
        }
    }

    /// The sample, with itself as what is to be kept of the class.
    fn with_prior(&self) -> DenoisingSample<D> {
        let sample = self.sample("");
        let DenoisingSample { latents, noise, timesteps, prompts, mask, .. } = sample.clone();
        let schedule = self.model.noise_schedule();
        let Noised { input, target, .. } = noised(schedule, latents, noise, &timesteps);
        let prior = Some(PriorSample { input, timesteps, target, mask, prompts });
        DenoisingSample { prior, ..sample }
    }
}

/// Loss, gradient and both Hessian products; exact and by differences.
pub fn hessian_product_matches_pytorch<B: KernelBackend>(tolerance: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let (loss, at, sample) = (problem.loss(), problem.parameters(), problem.sample(""));
    let first = gradient::<Autodiff<B>, _>(&loss, &at, &sample, Wrt::All);
    let expected = problem.fixture.values("loss")[0];
    let loss_value = number(&first.loss);
    assert!((loss_value - expected).abs() <= tolerance * expected, "{loss_value} {expected}");
    assert_near("∇_A L", &first.up, &problem.factors("grad_A"), tolerance);
    assert_near("∇_B L", &first.down, &problem.factors("grad_B"), tolerance);

    let direction = problem.factors("V");
    let (h_aa, h_ba) = (problem.factors("hAA"), problem.factors("hBA"));
    let exact = hessian_product::<Autodiff<B>, _>(&loss, &at, &direction, &sample);
    assert_near("H_AA V", &exact.up, &h_aa, tolerance);
    assert_near("H_BA V", &exact.down, &h_ba, tolerance);
    let finite = hessian_product_fd::<Autodiff<B>, _>(&loss, &at, &direction, &sample, 1e-2);
    assert_near("H_AA V by differences", &finite.up, &h_aa, 2e-2);
    assert_near("H_BA V by differences", &finite.down, &h_ba, 2e-2);
}

/// The same with the attention's term, written down in PyTorch on diffusers' probabilities; also from cached
/// activations.
pub fn attention_term_matches_pytorch<B: KernelBackend>(tolerance: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let fixture = Fixture::open("attention_sd1.safetensors");
    let mut sample = problem.sample("");
    sample.subject = Some(fixture.float("subject"));
    sample.prompts.words = vec![vec![5, 6], vec![3, 4]];
    let (at, direction) = (problem.parameters(), problem.factors("V"));
    let factors = |kind: &str| -> Factors<B> {
        let matrix = |site: &Site| {
            let name = format!("{kind}.{}", site.name);
            fixture.names().contains(&name).then(|| fixture.float(&name))
        };
        Factors::new(problem.model.sites().iter().map(matrix).collect())
    };
    for full_identity in [false, true] {
        let attention = Some(AttentionRegularization { weight: 2.0, full_identity });
        let loss = TrainingLoss { denoising: problem.loss(), attention, prior_weight: 0.0 };
        let first = gradient::<Autodiff<B>, _>(&loss, &at, &sample, Wrt::All);
        let expected = fixture.values(&format!("{full_identity}.loss"))[0];
        let value = number(&first.loss);
        assert!((value - expected).abs() <= tolerance * expected, "{value} {expected}");
        let expected = factors(&format!("{full_identity}.grad_A"));
        assert_near("∇_A L", &first.up, &expected, tolerance);
        if !full_identity {
            continue;
        }
        assert_near("∇_B L", &first.down, &factors("true.grad_B"), tolerance);
        let (h_aa, h_ba) = (factors("true.hAA"), factors("true.hBA"));
        let exact = hessian_product::<Autodiff<B>, _>(&loss, &at, &direction, &sample);
        assert_near("H_AA V", &exact.up, &h_aa, tolerance);
        assert_near("H_BA V", &exact.down, &h_ba, tolerance);
        let (up, cache) = gradient_with_cache::<Autodiff<B>, _>(&loss, &at, &sample);
        assert_near("∇_A L with a cache", &up, &expected, tolerance);
        let loss = loss.on(&sample);
        let cached = hessian_product_with_cache::<Autodiff<B>>(&loss, &at, &direction, &cache);
        assert_near("H_AA V from a cache", &cached.up, &h_aa, tolerance);
        assert_near("H_BA V from a cache", &cached.down, &h_ba, tolerance);
    }
    // Without it the loss is the denoising loss, bit for bit.
    let loss = TrainingLoss { denoising: problem.loss(), attention: None, prior_weight: 0.0 };
    let [without, plain] = [
        gradient::<Autodiff<B>, _>(&loss, &at, &sample, Wrt::All),
        gradient::<Autodiff<B>, _>(&problem.loss(), &at, &sample, Wrt::All),
    ];
    assert_identical("∇_A L", &without.up, &plain.up);
    assert_eq!(number(&without.loss), number(&plain.loss));
}

/// With the target and the prompt of the sample itself, the prior's term is the denoising loss once more, over the
/// whole image: value, gradients and Hessian products add up, also from cached activations.
pub fn prior_term_is_a_second_loss<B: KernelBackend>(tolerance: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let (denoising, at, direction) = (problem.loss(), problem.parameters(), problem.factors("V"));
    let masked = problem.sample("");
    let mut whole = masked.clone();
    whole.mask = whole.mask.ones_like();
    let DenoisingSample { latents, noise, timesteps, prompts, .. } = masked.clone();
    let Noised { input, target, .. } = noised(denoising.schedule, latents, noise, &timesteps);
    let prior = PriorSample { input, timesteps, target, mask: whole.mask.clone(), prompts };
    let sample = DenoisingSample { prior: Some(prior), ..masked.clone() };
    let loss = TrainingLoss { denoising: problem.loss(), attention: None, prior_weight: 0.5 };

    let [first, second] =
        [&masked, &whole].map(|s| gradient::<Autodiff<B>, _>(&denoising, &at, s, Wrt::All));
    let both = gradient::<Autodiff<B>, _>(&loss, &at, &sample, Wrt::All);
    let (value, expected) = (number(&both.loss), number(&first.loss) + 0.5 * number(&second.loss));
    assert!((value - expected).abs() <= tolerance * expected, "{value} {expected}");
    assert_near("∇_A L", &both.up, &first.up.axpy(0.5, &second.up), tolerance);
    assert_near("∇_B L", &both.down, &first.down.axpy(0.5, &second.down), tolerance);

    let [first, second] = [&masked, &whole]
        .map(|s| hessian_product::<Autodiff<B>, _>(&denoising, &at, &direction, s));
    let (up, down) = (first.up.axpy(0.5, &second.up), first.down.axpy(0.5, &second.down));
    let exact = hessian_product::<Autodiff<B>, _>(&loss, &at, &direction, &sample);
    assert_near("H_AA V", &exact.up, &up, tolerance);
    assert_near("H_BA V", &exact.down, &down, tolerance);
    let (_, cache) = gradient_with_cache::<Autodiff<B>, _>(&loss, &at, &sample);
    let loss = loss.on(&sample);
    let cached = hessian_product_with_cache::<Autodiff<B>>(&loss, &at, &direction, &cache);
    assert_near("H_AA V from a cache", &cached.up, &up, tolerance);
    assert_near("H_BA V from a cache", &cached.down, &down, tolerance);
}

/// Less memory gives the same derivatives, up to the order in which they are added up: by activations that are computed again, for which
/// the loss is the same bit for bit, by micro-batches, and by both; with the prior's term, whose evaluation of the model has
/// segments of its own.
pub fn less_memory_gives_the_same_derivatives<B: KernelBackend>(tolerance: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let (at, direction) = (problem.parameters(), problem.factors("V"));
    let sample = problem.with_prior();
    let whole = MicroBatch::whole(sample.clone());
    let halves =
        [0, 1].map(|half| MicroBatch { sample: image(&sample, half), share: 0.5 }).to_vec();
    let loss = |memory| MicroBatches {
        objective: TrainingLoss { denoising: problem.loss(), attention: None, prior_weight: 0.5 },
        memory,
    };
    let fast = loss(Memory::Fast);
    for (what, memory, parts) in [
        ("low", Memory::Low, &whole),
        ("micro-batches", Memory::Fast, &halves),
        ("micro-batches, low", Memory::Low, &halves),
    ] {
        let less = loss(memory);
        for wrt in [Wrt::Up, Wrt::All] {
            let expected = gradient::<Autodiff<B>, _>(&fast, &at, &whole, wrt);
            let found = gradient::<Autodiff<B>, _>(&less, &at, parts, wrt);
            let [kept, again] = [&expected.loss, &found.loss].map(number);
            let most = if parts.len() == 1 { 0.0 } else { tolerance * kept };
            assert!((kept - again).abs() <= most, "{what}: {kept} {again}");
            assert_near(&format!("∇_A L, {what}"), &found.up, &expected.up, tolerance);
            if wrt == Wrt::All {
                assert_near(&format!("∇_B L, {what}"), &found.down, &expected.down, tolerance);
            }
        }
        let expected = hessian_product::<Autodiff<B>, _>(&fast, &at, &direction, &whole);
        let found = hessian_product::<Autodiff<B>, _>(&less, &at, &direction, parts);
        assert_near(&format!("H_AA V, {what}"), &found.up, &expected.up, tolerance);
        assert_near(&format!("H_BA V, {what}"), &found.down, &expected.down, tolerance);
    }
}

/// One image of a sample.
fn image<B: Backend>(sample: &DenoisingSample<B>, number: usize) -> DenoisingSample<B> {
    let of = |tensor: &Tensor<B, 4>| tensor.clone().narrow(0, number, 1);
    let prompt = |prompts: &TextBatch<B>| TextBatch {
        ids: prompts.ids.clone().narrow(0, number, 1),
        ..prompts.clone()
    };
    let prior = sample.prior.as_ref().map(|prior| PriorSample {
        input: of(&prior.input),
        timesteps: vec![prior.timesteps[number]],
        target: of(&prior.target),
        mask: of(&prior.mask),
        prompts: prompt(&prior.prompts),
    });
    DenoisingSample {
        latents: of(&sample.latents),
        noise: of(&sample.noise),
        timesteps: vec![sample.timesteps[number]],
        mask: of(&sample.mask),
        subject: None,
        prompts: prompt(&sample.prompts),
        prior,
    }
}

/// T = 2 with a minibatch of its own for each inner step, which the second-order pass must replay:
/// replaying another one gives another answer.
pub fn hypergradient_matches_pytorch<B: KernelBackend>(tolerance: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let (loss, rate) = (problem.loss(), 0.05);
    let samples = ["inner0.", "inner1."].map(|prefix| problem.sample(prefix));
    let outer = problem.sample("");
    let mut end = problem.parameters();
    let mut steps = Vec::new();
    for (t, sample) in samples.iter().enumerate() {
        let up = end.adapters.up.clone();
        let (g, cache) = gradient_with_cache::<Autodiff<B>, _>(&loss, &end, sample);
        end.adapters.up = up.axpy(-rate, &g);
        let expected = problem.factors(&format!("inner{t}.A"));
        assert_near("A_t", &end.adapters.up, &expected, tolerance);
        let step = up.map(|_, a: Tensor<B, 2>| a.ones_like().mul_scalar(rate));
        steps.push(InnerStep { up, step, sample, cache: Some(cache) });
    }
    let solve = |steps: &[_], hvp| {
        hypergradient::<Autodiff<B>, _>(&loss, &end, steps, &outer, 0.0, hvp).down
    };
    let expected = problem.factors("hyper");
    assert_near("∇F", &solve(&steps, Hvp::Exact), &expected, tolerance.min(2e-4));
    let caches = steps.iter_mut().map(|step| step.cache.take()).collect::<Vec<_>>();
    assert_near("∇F without a cache", &solve(&steps, Hvp::Exact), &expected, tolerance.min(2e-4));
    assert_near("∇F without", &solve(&steps, Hvp::None), &problem.factors("hyper_none"), tolerance);
    assert!(distance(&solve(&steps, Hvp::FiniteDifference), &expected) < 1e-2);

    steps[0].sample = &samples[1];
    steps[1].sample = &samples[0];
    let wrong = distance(&solve(&steps, Hvp::Exact), &expected);
    assert!(wrong > 5e-4, "replaying other minibatches must show: {wrong:.2e}");

    steps[0].sample = &samples[0];
    steps[1].sample = &samples[1];
    for (step, cache) in steps.iter_mut().zip(caches.into_iter().rev()) {
        step.cache = cache;
    }
    let wrong = distance(&solve(&steps, Hvp::Exact), &expected);
    assert!(wrong > 2e-4, "the cache of another step must show: {wrong:.2e}");
}

/// With weights and activations of 16 bits the derivatives are those of PyTorch in f64 but for
/// rounding, and what is trained stays f32.
pub fn derivatives_survive_half_precision<B: KernelBackend>(Stored { dtype, tolerance }: Stored) {
    let precisions = [Precision::F16, Precision::Bf16];
    let precision = precisions.into_iter().find(|p| p.dtype() == dtype).expect("16 bits");
    let problem = Problem::<Autodiff<B>>::with_weights_in(precision);
    let (loss, at, sample) = (problem.loss(), problem.parameters(), problem.sample(""));
    let first = gradient::<Autodiff<B>, _>(&loss, &at, &sample, Wrt::All);
    let all = first.up.iter().chain(first.down.iter());
    assert!(all.map(|(_, g)| g.dtype()).all(|dtype| dtype == DType::F32));
    let expected = problem.fixture.values("loss")[0];
    let loss_value = number(&first.loss);
    assert!((loss_value - expected).abs() <= tolerance * expected, "{loss_value} {expected}");
    assert_near("∇_A L", &first.up, &problem.factors("grad_A"), 4.0 * tolerance);
    assert_near("∇_B L", &first.down, &problem.factors("grad_B"), 4.0 * tolerance);
    let exact = hessian_product::<Autodiff<B>, _>(&loss, &at, &problem.factors("V"), &sample);
    assert_near("H_AA V", &exact.up, &problem.factors("hAA"), 4.0 * tolerance);
    assert_near("H_BA V", &exact.down, &problem.factors("hBA"), 4.0 * tolerance);
}
