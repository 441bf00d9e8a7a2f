//! Laws of a backend's own kernels: each against the operation's reference on the tape, in f32.

use burn::backend::Autodiff;
use burn::tensor::{
    FloatDType, Tensor, TensorMetadata, backend::AutodiffBackend, backend::Backend,
};
use burn_seqlora::kernels::activation::Geglu;
use burn_seqlora::kernels::attention::{Attention, AttentionMask, TiledAttention};
use burn_seqlora::kernels::conv2d::Conv2d;
use burn_seqlora::kernels::lora_linear::LoraLinear;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::kernels::normalize::Normalize;
use burn_seqlora::kernels::operation::{Float, Kernel, Operation, float, tensor};
use burn_seqlora::kernels::project::Project;
use burn_seqlora::kernels::{Activation, KernelBackend};
use burn_seqlora::rng::{Seed, normal};

use crate::fixtures::{assert_close, largest};

/// How a backend stores numbers, and how near the reference it comes on the same numbers.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The type in memory.
    pub dtype: FloatDType,
    /// Relative error.
    pub tolerance: f64,
}

impl From<f64> for Stored {
    fn from(tolerance: f64) -> Self {
        Self { dtype: FloatDType::F32, tolerance }
    }
}

/// An input with its tangent.
#[derive(Clone)]
struct Input<B: Backend> {
    x: Float<B>,
    dx: Option<Float<B>>,
    /// Neither moves nor is asked for a gradient of the tangent.
    frozen: bool,
}

impl<B: Backend> Input<B> {
    fn cast(&self, dtype: FloatDType) -> Self {
        let cast = |x: &Float<B>| {
            // What is there already may be a view, and stays one.
            if x.dtype() == dtype.into() { x.clone() } else { B::float_cast(x.clone(), dtype) }
        };
        Self { x: cast(&self.x), dx: self.dx.as_ref().map(cast), frozen: self.frozen }
    }
}

fn random<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Tensor<B, D> {
    normal(shape, &mut Seed::new(8).at(counter), &B::Device::default())
}

fn frozen<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Input<B> {
    Input { x: float(random::<B, D>(shape, counter)), dx: None, frozen: true }
}

fn still<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Input<B> {
    Input { frozen: false, ..frozen(shape, counter) }
}

fn moving<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Input<B> {
    Input { dx: Some(float(random::<B, D>(shape, counter + 1000))), ..still(shape, counter) }
}

/// Three heads beside each other, in tensors whose batch is stored last.
fn heads<B: Backend>(tokens: usize, counter: u64) -> Input<B> {
    let view = |counter| float(random::<B, 3>([tokens, 24, 2], counter).permute([2, 0, 1]));
    Input { x: view(counter), dx: Some(view(counter + 1000)), frozen: false }
}

/// Images whose channels are the last dimension, as views of ones whose channels are the second.
fn channels_last<B: Backend>(counter: u64) -> Input<B> {
    let view = |counter| float(random::<B, 4>([3, 19, 5, 7], counter).permute([0, 2, 3, 1]));
    Input { x: view(counter), dx: Some(view(counter + 1000)), frozen: false }
}

/// Element by element, also on tensors that are not contiguous.
pub fn activations<B: KernelBackend>(stored: Stored) {
    for kind in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        agree::<B, _>(&kind, &[moving([3, 37], 1)], stored);
        agree::<B, _>(&kind, &[heads(5, 2)], stored);
        agree::<B, _>(&kind, &[channels_last(4)], stored);
    }
    agree::<B, _>(&Geglu, &[moving([5, 26], 3)], stored);
}

/// Tokens, groups of one image, groups of several.
pub fn normalisation<B: KernelBackend>(stored: Stored) {
    // The last two have more rows of a group than one task takes.
    for shape in [[5, 12, 1], [3, 4, 35], [8, 3, 70], [150, 12, 1], [201, 4, 2]] {
        let inputs = [moving(shape, 1), frozen([12], 2), frozen([12], 3)];
        agree::<B, _>(&Normalize { epsilon: 1e-5 }, &inputs, stored);
    }
}

/// Full and causal, with few queries and with more than one block of a CPU or tile of a GPU, all moving or some; heads of
/// 8, 40 and 160 channels.
pub fn attention<B: KernelBackend>(stored: Stored) {
    let row = |count, channels, counter| moving([1, count, channels], counter);
    let still = |input| Input { dx: None, ..input };
    let full = Attention { heads: 2, mask: AttentionMask::Full };
    agree::<B, _>(&full, &[row(33, 320, 1), row(3, 320, 2), row(3, 320, 3)], stored);
    let causal = Attention { heads: 1, mask: AttentionMask::Causal };
    for tokens in [7, 150] {
        agree::<B, _>(&causal, &[1, 2, 3].map(|counter| row(tokens, 40, counter)), stored);
    }
    let full = Attention { heads: 3, mask: AttentionMask::Full };
    agree::<B, _>(&full, &[heads(5, 1), heads(7, 2), heads(7, 3)], stored);
    agree::<B, _>(&full, &[heads(5, 1), still(heads(7, 2)), heads(7, 3)], stored);
    agree::<B, _>(&full, &[still(heads(5, 1)), heads(7, 2), still(heads(7, 3))], stored);
}

/// The tiled kernels where they are not chosen: few of them, since a GPU in software compiles each for up to 25 s.
pub fn attention_by_tiles<B: Kernel<TiledAttention>>(stored: Stored) {
    let causal = TiledAttention(Attention { heads: 3, mask: AttentionMask::Causal });
    agree::<B, _>(&causal, &[1, 2, 3].map(|counter| heads(70, counter)), stored);
}

/// With and without bias and adapter; B need not move for its gradient to be asked for.
pub fn linear_layers<B: KernelBackend>(stored: Stored) {
    let (x, a, b) = (moving([7, 11], 1), moving([9, 3], 2), moving([11, 3], 3));
    let (weight, bias) = (frozen([9, 11], 4), frozen([9], 5));
    let still = |input: &Input<B>| Input { dx: None, ..input.clone() };
    for biased in [false, true] {
        let with = |x: &Input<B>, lora: &[Input<B>]| {
            let layer = LoraLinear { bias: biased, lora: !lora.is_empty() };
            let mut inputs = vec![x.clone(), weight.clone()];
            inputs.extend(biased.then(|| bias.clone()));
            inputs.extend_from_slice(lora);
            agree::<B, _>(&layer, &inputs, stored);
        };
        with(&x, &[]);
        with(&x, &[a.clone(), b.clone()]);
        with(&x, &[a.clone(), still(&b)]);
        with(&x, &[still(&a), still(&b)]);
        with(&still(&x), &[a.clone(), still(&b)]);
    }
}

/// Kernels of 3 and 1, strides, paddings, one image and several; sizes beyond the kernels' blocks.
pub fn convolutions<B: KernelBackend>(stored: Stored) {
    let small = [(3, 1, 1), (3, 1, 2), (3, 2, 1), (3, 2, 0), (1, 1, 0), (1, 1, 1), (1, 2, 0)];
    let small = small.into_iter().flat_map(|layer| [1, 3].map(|n| (layer, [n, 5, 9, 8], 6)));
    let large = [((3, 1, 1), [1, 70, 20, 17], 50), ((3, 2, 1), [2, 70, 33, 5], 50)];
    for (layer, x, outputs) in small.chain(large) {
        convolution::<B>(layer, x, outputs, stored);
    }
}

/// With more patches than a GPU gathers at once.
pub fn a_large_convolution<B: KernelBackend>(stored: Stored) {
    convolution::<B>((7, 1, 3), [1, 64, 75, 75], 1, stored);
}

fn convolution<B: KernelBackend>(
    (kernel, stride, padding): (usize, usize, usize),
    x: [usize; 4],
    outputs: usize,
    stored: Stored,
) {
    let inputs = [moving(x, 1), frozen([outputs, x[1], kernel, kernel], 2), frozen([outputs], 3)];
    agree::<B, _>(&Conv2d { stride, padding }, &inputs, stored);
}

/// Products of matrices of any size, the second one a view, against sums in f64: those in f32 lose no bits of their
/// factors, as TF32 would.
pub fn products<B: KernelBackend>(stored: Stored) {
    let Stored { dtype, tolerance } = stored;
    let tolerance = if dtype == FloatDType::F32 { 2e-6 } else { tolerance };
    let small = [[1, 1, 1, 1], [2, 5, 7, 3], [3, 65, 130, 70], [1, 257, 33, 1]];
    for [batch, n, k, m] in small.into_iter().chain([[1, 300, 130, 120]]) {
        let a = random::<B, 3>([batch, n, k], 1).cast(dtype);
        let b = random::<B, 3>([batch, m, k], 2).cast(dtype).swap_dims(1, 2);
        let numbers = |x: Tensor<B, 3>| x.into_data().iter::<f64>().collect::<Vec<_>>();
        let (left, right) = (numbers(a.clone()), numbers(b.clone()));
        let found = numbers(a.times(b));
        let (mut error, mut size) = (0.0, 0.0);
        for (at, found) in found.iter().enumerate() {
            let (row, column, image) = (at / m % n, at % m, at / m / n);
            let left = &left[(image * n + row) * k..][..k];
            let term = |i: usize| left[i] * right[(image * k + i) * m + column];
            let expected: f64 = (0..k).map(term).sum();
            error += (found - expected).powi(2);
            size += expected.powi(2);
        }
        let relative = (error / size).sqrt();
        assert!(relative < tolerance, "{n} x {k} x {m} in {dtype:?}: {relative:.1e}");
    }
}

/// Few directions and more than a cube takes at once, one column and several; Q as a view.
pub fn projection<B: KernelBackend>(tolerance: f64) {
    for [inputs, rank, directions] in [[11, 3, 2], [300, 1, 40], [70, 17, 65]] {
        // Columns of about length 1 / directions: two passes subtract about as much as they leave.
        let scale = 1.0 / ((inputs * directions) as f64).sqrt();
        let q = random::<B, 2>([directions, inputs], 2).transpose().mul_scalar(scale);
        let x = [float(random::<B, 2>([inputs, rank], 1)), float(q)];
        let ours = flat::<B>(<B as Kernel<Project>>::value(&Project, &x));
        let theirs = flat::<B>(Project.value::<B>(&x));
        assert_close(&format!("{directions} directions"), &ours, &theirs, tolerance);
    }
}

/// The value with its gradients at all inputs, and the tangent with its gradients at all inputs
/// that are not frozen and at their tangents.
fn agree<B: Kernel<O>, O: Operation>(operation: &O, inputs: &[Input<B>], stored: Stored) {
    let Stored { dtype, tolerance } = stored;
    let what = format!("{operation:?} in {dtype:?}");
    let all = vec![true; inputs.len()];
    let inputs: Vec<_> = inputs.iter().map(|input| input.cast(dtype)).collect();
    let rounded: Vec<_> = inputs.iter().map(|input| input.cast(FloatDType::F32)).collect();
    let (inputs, rounded) = (&inputs[..], &rounded[..]);
    let x: Vec<_> = inputs.iter().map(|input| input.x.clone()).collect();
    assert!(B::backward(&x).is_some(), "{what}: the reference would be compared with itself");
    let ours = differentiate(inputs, &all, |x, _| <Autodiff<B> as Kernel<O>>::value(operation, x));
    let theirs = differentiate(rounded, &all, |x, _| operation.value::<Autodiff<B>>(x));
    assert_equal(&format!("{what} value"), ours, theirs, tolerance);

    let learnt: Vec<bool> = inputs.iter().map(|input| !input.frozen).collect();
    let tangent = <Autodiff<B> as Kernel<O>>::tangent;
    let ours = differentiate(inputs, &learnt, |x, dx| tangent(operation, x, dx));
    let theirs = differentiate(rounded, &learnt, |x, dx| operation.tangent::<Autodiff<B>>(x, dx));
    assert_equal(&format!("{what} tangent"), ours, theirs, tolerance);
}

type Taped<B> = Float<Autodiff<B>>;

/// The result, followed by the gradients of Σ w ∘ result for some weights w: at the inputs that
/// are tracked, and at their tangents.
fn differentiate<B: Backend>(
    inputs: &[Input<B>],
    tracked: &[bool],
    f: impl Fn(&[Taped<B>], &[Option<Taped<B>>]) -> Taped<B>,
) -> Vec<Option<Tensor<B, 1>>> {
    let leaf = |x: &Float<B>, tracked: bool| {
        let leaf = Autodiff::<B>::from_inner(x.clone());
        if tracked { leaf.require_grad() } else { leaf }
    };
    let with_flag = || inputs.iter().zip(tracked);
    let x: Vec<_> = with_flag().map(|(input, tracked)| leaf(&input.x, *tracked)).collect();
    let dx: Vec<_> = with_flag()
        .map(|(input, tracked)| input.dx.as_ref().map(|dx| leaf(dx, *tracked)))
        .collect();
    let result = flat::<Autodiff<B>>(f(&x, &dx)).cast(FloatDType::F32);
    let weights = random::<B, 1>(result.dims(), 99);
    let gradients = (result.clone() * Tensor::from_inner(weights)).sum().backward();
    let at = |leaf: &Taped<B>| {
        Autodiff::<B>::grad(leaf, &gradients).map(|g| flat::<B>(g).cast(FloatDType::F32))
    };
    let at_x = x.iter().map(at);
    let at_dx = dx.iter().map(|dx| dx.as_ref().and_then(at));
    [Some(result.inner())].into_iter().chain(at_x).chain(at_dx).collect()
}

fn flat<B: Backend>(x: Float<B>) -> Tensor<B, 1> {
    let count = x.shape().num_elements();
    tensor(B::float_reshape(x, [count].into()))
}

fn assert_equal<B: Backend>(
    what: &str,
    ours: Vec<Option<Tensor<B, 1>>>,
    theirs: Vec<Option<Tensor<B, 1>>>,
    tolerance: f64,
) {
    let mut compared = 0;
    for (i, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
        // Where the reference's tape finds no way, the gradient is zero.
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => {
                assert_close(&format!("{what}, {i}"), &ours, &theirs, tolerance);
                compared += 1;
            }
            (Some(ours), None) => {
                let size = largest(ours.into_data().iter());
                assert_eq!(size, 0.0, "{what}, {i}: a gradient where there is none");
            }
            (None, Some(_)) => panic!("{what}, {i}: a gradient is missing"),
            (None, None) => {}
        }
    }
    assert!(compared >= 2, "{what}: nothing was compared");
}
