//! Activations of a gradient, cached for the Hessian product at the same point.
//!
//! A Hessian product differentiates φ = ⟨∇L, V⟩ where the gradient of L was taken before. It needs
//! the value y of every layer again, and its backward pass arrives at ∂φ/∂ẏ = ∂L/∂y, which the
//! gradient has already found. Linear layers and convolutions of high arithmetic intensity take
//! both from the cache: of the six passes that a gradient and its Hessian product take, two are
//! saved.
//!
//! Layers and losses do not know of the cache: the tape fills and reads it while
//! [`ActivationCache::record`] or [`ActivationCache::reuse`] runs (a pass). The pass is a property
//! of the current thread. Passes may be nested; each has its own cache, and the outer one continues
//! afterwards.
//!
//! Every operation that the thread runs during a pass belongs to it. A thread of a work-stealing
//! pool may run another task while it waits for a kernel, so two losses must not be evaluated in
//! parallel on one such pool if either of them caches.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Shape, TensorMetadata, backend::Backend};

use crate::operation::{ArithmeticIntensity, Float, Operation};

/// The results of a gradient's operations of high arithmetic intensity, in the order of evaluation.
#[derive(Debug, Clone)]
pub struct ActivationCache {
    /// The [arithmetic intensity](Operation::arithmetic_intensity) from which on a result is
    /// cached.
    least: usize,
    slots: Vec<Slot>,
}

/// The [`CachedActivation`] of some backend.
type Slot = Arc<dyn Any + Send + Sync>;

/// What a gradient computed for one operation.
#[derive(Debug)]
pub(crate) struct CachedActivation<B: Backend> {
    operation: TypeId,
    shapes: Vec<Shape>,
    /// The operation's value, if its arithmetic intensity is high enough.
    value: Option<Float<B>>,
    /// The gradient of the loss at the first input, if it was asked for.
    pub input_gradient: OnceLock<Float<B>>,
}

impl<B: Backend> CachedActivation<B> {
    fn new<O: Operation>(x: &[Float<B>], value: Option<Float<B>>) -> Self {
        let shapes = x.iter().map(TensorMetadata::shape).collect();
        Self { operation: TypeId::of::<O>(), shapes, value, input_gradient: OnceLock::new() }
    }

    fn is_of<O: Operation>(&self, x: &[Float<B>]) -> bool {
        let shapes = x.iter().map(TensorMetadata::shape);
        self.operation == TypeId::of::<O>() && shapes.eq(self.shapes.iter().cloned())
    }
}

/// The pass that this thread is in.
struct Pass {
    least: usize,
    mode: Mode,
}

enum Mode {
    /// A gradient fills the cache.
    Record(Vec<Slot>),
    /// A Hessian product reads it. `last` belongs to the operation that was evaluated last.
    Reuse { rest: std::vec::IntoIter<Slot>, last: Option<Slot> },
}

thread_local! {
    static PASS: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

impl ActivationCache {
    /// Runs `gradient`, which evaluates a loss and runs its backward pass, and caches the results
    /// whose arithmetic intensity is at least `least`.
    pub fn record<T>(least: usize, gradient: impl FnOnce() -> T) -> (T, Self) {
        let (result, pass) = during(Pass { least, mode: Mode::Record(Vec::new()) }, gradient);
        let Mode::Record(slots) = pass.mode else { unreachable!("a pass keeps its mode") };
        (result, Self { least, slots })
    }

    /// Runs `product`, which evaluates the same loss at the same point and runs the backward pass
    /// of its tangent, with the cached results instead of computing them again.
    ///
    /// # Panics
    /// If the operations that are cached differ from those of the gradient in number, type or
    /// shapes.
    pub fn reuse<T>(&self, product: impl FnOnce() -> T) -> T {
        let mode = Mode::Reuse { rest: self.slots.clone().into_iter(), last: None };
        let (result, pass) = during(Pass { least: self.least, mode }, product);
        let left = matches!(&pass.mode, Mode::Reuse { rest, .. } if rest.len() > 0);
        assert!(!left, "the Hessian product has fewer cached operations than the gradient");
        result
    }
}

/// Runs a function within a pass. The pass around it is restored at the end and after a panic.
fn during<T>(pass: Pass, function: impl FnOnce() -> T) -> (T, Pass) {
    struct Restore(Option<Pass>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PASS.set(self.0.take());
        }
    }
    let _restore = Restore(PASS.replace(Some(pass)));
    let result = function();
    (result, PASS.take().expect("a pass within this one restores it"))
}

/// The value of an operation, computed or taken from the cache. If a gradient is being recorded,
/// the cached activation is returned for the backward pass to add the gradient at the input.
pub(crate) fn value<B: Backend, O: Operation>(
    operation: &O,
    x: &[Float<B>],
    compute: impl FnOnce() -> Float<B>,
) -> (Float<B>, Option<Arc<CachedActivation<B>>>) {
    let Some(cached) = cached_results::<B, O>(operation, x) else {
        return (compute(), None);
    };
    if let Some(slot) = next() {
        let activation =
            slot.downcast::<CachedActivation<B>>().ok().filter(|found| found.is_of::<O>(x));
        let activation =
            activation.unwrap_or_else(|| panic!("the gradient had no such {}", type_name::<O>()));
        return (activation.value.clone().unwrap_or_else(compute), None);
    }
    let value = compute();
    let activation =
        Arc::new(CachedActivation::<B>::new::<O>(x, cached.value.then(|| value.clone())));
    PASS.with_borrow_mut(|pass| match pass {
        Some(Pass { mode: Mode::Record(slots), .. }) => slots.push(activation.clone()),
        _ => unreachable!("a pass either records or reuses"),
    });
    (value, cached.input_gradient.then_some(activation))
}

/// Which results of an operation are cached.
struct Cached {
    value: bool,
    input_gradient: bool,
}

/// Which results of an operation are cached; `None` outside of a pass and if there are none.
fn cached_results<B: Backend, O: Operation>(operation: &O, x: &[Float<B>]) -> Option<Cached> {
    PASS.with_borrow_mut(|pass| {
        let Pass { least, mode } = pass.as_mut()?;
        if let Mode::Reuse { last, .. } = mode {
            // The tangent of an operation without cached results must not see those of another.
            *last = None;
        }
        let ArithmeticIntensity { value, input_gradient } = operation.arithmetic_intensity::<B>(x);
        let cached = Cached { value: value >= *least, input_gradient: input_gradient >= *least };
        (cached.value || cached.input_gradient).then_some(cached)
    })
}

/// The next cached operation, if a Hessian product reads the cache.
fn next() -> Option<Slot> {
    PASS.with_borrow_mut(|pass| match pass {
        Some(Pass { mode: Mode::Reuse { rest, last }, .. }) => {
            *last = rest.next();
            let slot = last.clone();
            Some(slot.expect("the Hessian product has more cached operations than the gradient"))
        }
        _ => None,
    })
}

/// The gradient of the loss at the first input of the operation that was evaluated last, if a
/// Hessian product reads the cache and the cache has it.
pub(crate) fn input_gradient<B: Backend>() -> Option<Float<B>> {
    PASS.with_borrow(|pass| match pass {
        Some(Pass { mode: Mode::Reuse { last: Some(slot), .. }, .. }) => {
            slot.downcast_ref::<CachedActivation<B>>()?.input_gradient.get().cloned()
        }
        _ => None,
    })
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use burn::backend::Autodiff;
    use burn::tensor::Tensor;
    use burn_flex::Flex;

    use super::*;
    use crate::ops::lora_linear;
    use burn_jvp::Dual;

    /// Four inputs, three outputs.
    fn layer(rows: usize, x: f32) -> Tensor<Autodiff<Flex>, 2> {
        let device = Default::default();
        let x = Tensor::full([rows, 4], x, &device).require_grad();
        lora_linear(Dual::constant(x), Tensor::ones([3, 4], &device), None, None).primal
    }

    #[test]
    fn a_second_pass_takes_the_values_of_the_first() {
        let (y, cache) = ActivationCache::record(4, || layer(2, 1.0));
        let again = cache.reuse(|| layer(2, 7.0));
        assert_eq!(y.to_data(), again.to_data());
        assert_ne!(y.to_data(), layer(2, 7.0).to_data(), "no cache is read outside of a pass");
    }

    #[test]
    fn a_second_pass_with_other_operations_is_refused() {
        let (_, cache) = ActivationCache::record(4, || layer(2, 1.0));
        let others: [fn(); 3] =
            [|| {}, || drop(layer(3, 1.0)), || drop((layer(2, 1.0), layer(2, 1.0)))];
        for other in others {
            assert!(catch_unwind(AssertUnwindSafe(|| cache.reuse(other))).is_err());
            cache.reuse(|| layer(2, 1.0));
        }
    }

    #[test]
    fn results_of_low_intensity_are_not_cached() {
        let cached = |least| ActivationCache::record(least, || layer(2, 1.0)).1.slots.len();
        assert_eq!([cached(3), cached(4), cached(5)], [1, 1, 0]);
    }

    /// A pass within another has a cache of its own, also if it panics.
    #[test]
    fn passes_nest() {
        let inner = || ActivationCache::record(4, || layer(3, 2.0));
        let (((y, within), (z, _)), outer) = ActivationCache::record(4, || {
            let y = inner();
            let panicking = || ActivationCache::record(4, || panic!("within"));
            assert!(catch_unwind(panicking).is_err());
            (y, (layer(2, 1.0), layer(2, 5.0)))
        });
        assert_eq!([within.slots.len(), outer.slots.len()], [1, 2]);
        assert_eq!(within.reuse(|| layer(3, 7.0)).to_data(), y.to_data());
        let again = outer.reuse(|| (within.reuse(|| layer(3, 7.0)), layer(2, 7.0), layer(2, 7.0)));
        assert_eq!([again.0.to_data(), again.1.to_data()], [y.to_data(), z.to_data()]);
    }
}
