//! Activations of a gradient, cached for the Hessian product at the same point.
//!
//! A Hessian product differentiates φ = ⟨∇L, V⟩ where the gradient of L was taken before. It needs
//! the value y of every layer again, and its backward pass arrives at ∂φ/∂ẏ = ∂L/∂y, which the
//! gradient has already found. Linear layers and convolutions of high arithmetic intensity take
//! both from the cache: of the six passes that a gradient and its Hessian product take, two are
//! saved.
//!
//! The gradient's evaluation of the loss is given a [`CachePass`] that fills the cache, the Hessian
//! product's one that reads it, and layers hand it on to [`ops`](crate::ops). A pass belongs to one
//! evaluation and is known to nothing else, so evaluations may run within each other and side by
//! side on any threads. An operation that is given no pass is computed as it is.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock};

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata, backend::Backend};

/// Multiply-adds per element of an operation's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArithmeticIntensity {
    /// Of the value.
    pub value: usize,
    /// Of the gradient at the first input.
    pub input_gradient: usize,
}

/// The results of a gradient's operations of high arithmetic intensity, in the order of evaluation.
#[derive(Debug, Clone)]
pub struct ActivationCache {
    /// The [arithmetic intensity](ArithmeticIntensity) from which on a result is cached.
    least: usize,
    entries: Vec<Entry>,
}

/// The [`CachedActivation`] of some backend.
type Entry = Arc<dyn Any + Send + Sync>;

/// One evaluation of a loss that fills or reads an [`ActivationCache`]. Clones are the same pass.
///
/// The evaluation must run its operations one after the other: they are told apart by their order.
#[derive(Debug, Clone)]
pub struct CachePass {
    least: usize,
    fills: bool,
    /// `None` after the evaluation.
    progress: Arc<Mutex<Option<Progress>>>,
}

/// How far an evaluation has come.
#[derive(Debug)]
struct Progress {
    entries: Vec<Entry>,
    next: usize,
}

impl ActivationCache {
    /// Runs `gradient`, which evaluates a loss with the given pass and runs its backward pass, and
    /// caches the results whose arithmetic intensity is at least `least`.
    pub fn record<T>(least: usize, gradient: impl FnOnce(&CachePass) -> T) -> (T, Self) {
        let pass = CachePass::new(least, true, Vec::new());
        let result = gradient(&pass);
        (result, Self { least, entries: pass.end().entries })
    }

    /// Runs `product`, which evaluates the same loss at the same point with the given pass and runs
    /// the backward pass of its tangent, with the cached results instead of computing them again.
    ///
    /// # Panics
    /// If the operations that are cached differ from those of the gradient in number, type or
    /// shapes.
    pub fn reuse<T>(&self, product: impl FnOnce(&CachePass) -> T) -> T {
        let pass = CachePass::new(self.least, false, self.entries.clone());
        let result = product(&pass);
        let Progress { entries, next } = pass.end();
        let all = next == entries.len();
        assert!(all, "the Hessian product has fewer cached operations than the gradient");
        result
    }

    /// The number of operations with cached results.
    pub fn operations(&self) -> usize {
        self.entries.len()
    }
}

impl CachePass {
    fn new(least: usize, fills: bool, entries: Vec<Entry>) -> Self {
        Self { least, fills, progress: Arc::new(Mutex::new(Some(Progress { entries, next: 0 }))) }
    }

    /// What became of the pass, which can then no longer be used.
    fn end(&self) -> Progress {
        self.progress.lock().expect(REFUSED).take().expect("a pass ends once")
    }

    /// The place in the cache of the next operation; `None` if none of its results are cached.
    ///
    /// # Panics
    /// If the gradient had another operation here, or if the evaluation has ended.
    pub(crate) fn next<B: Backend>(
        &self,
        operation: &'static str,
        x: &[FloatTensor<B>],
        intensity: ArithmeticIntensity,
    ) -> Option<CachePlace<B>> {
        let caches = [intensity.value, intensity.input_gradient].map(|i| i >= self.least);
        if caches == [false; 2] {
            return None;
        }
        let mut progress = self.progress.lock().expect(REFUSED);
        let progress = progress.as_mut().expect("a pass is for one evaluation, and this has ended");
        if self.fills {
            progress.entries.push(Arc::new(CachedActivation::<B>::new(operation, x, caches)));
        }
        let entry = progress.entries.get(progress.next).cloned();
        let entry =
            entry.expect("the Hessian product has more cached operations than the gradient");
        progress.next += 1;
        let activation = entry.downcast::<CachedActivation<B>>().ok();
        let activation = activation.filter(|found| found.is_of(operation, x));
        let activation =
            activation.unwrap_or_else(|| panic!("the gradient had no such {operation}"));
        Some(CachePlace { activation, fills: self.fills })
    }
}

/// Why a pass cannot be locked.
const REFUSED: &str = "an earlier operation of this pass was refused";

/// What a gradient computed for one operation.
#[derive(Debug)]
struct CachedActivation<B: Backend> {
    operation: &'static str,
    shapes: Vec<Shape>,
    /// Whether the value is cached, and whether the gradient at the first input is.
    caches: [bool; 2],
    value: OnceLock<FloatTensor<B>>,
    /// Of the loss; it stays empty if it was not asked for.
    input_gradient: OnceLock<FloatTensor<B>>,
}

impl<B: Backend> CachedActivation<B> {
    fn new(operation: &'static str, x: &[FloatTensor<B>], caches: [bool; 2]) -> Self {
        let shapes = x.iter().map(TensorMetadata::shape).collect();
        let (value, input_gradient) = Default::default();
        Self { operation, shapes, caches, value, input_gradient }
    }

    fn is_of(&self, operation: &str, x: &[FloatTensor<B>]) -> bool {
        let shapes = x.iter().map(TensorMetadata::shape);
        self.operation == operation && shapes.eq(self.shapes.iter().cloned())
    }
}

/// The place of one operation in the cache, which a gradient fills and a Hessian product reads.
#[derive(Debug)]
pub(crate) struct CachePlace<B: Backend> {
    activation: Arc<CachedActivation<B>>,
    fills: bool,
}

impl<B: Backend> CachePlace<B> {
    /// The operation's value, from the cache if it is there.
    pub fn value(&self, compute: impl FnOnce() -> FloatTensor<B>) -> FloatTensor<B> {
        match self.activation.caches {
            [true, _] => self.activation.value.get_or_init(compute).clone(),
            [false, _] => compute(),
        }
    }

    /// Caches the gradient at the first input, which a gradient's backward pass has found.
    pub fn fill_input_gradient(&self, gradient: &FloatTensor<B>) {
        if let (true, [_, true]) = (self.fills, self.activation.caches) {
            // It is not set yet, since a tape runs backward only once.
            let _ = self.activation.input_gradient.set(gradient.clone());
        }
    }

    /// The gradient of the loss at the first input, if a Hessian product can read it.
    pub fn input_gradient(&self) -> Option<FloatTensor<B>> {
        self.activation.input_gradient.get().filter(|_| !self.fills).cloned()
    }
}
