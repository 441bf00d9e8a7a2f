//! What a first-order pass computed, kept for the second-order pass at the same point.
//!
//! A Hessian product differentiates φ = ⟨∇L, V⟩ where the gradient of L was taken before. It needs
//! the value y of every layer once more, and its backward pass finds ∂φ/∂ẏ = ∂L/∂y, which the
//! gradient had found already. Linear layers and convolutions that are wide enough take both from
//! there: of the six passes that a gradient and its Hessian product are, two are saved.
//!
//! Layers do not know of it. The tape does, for as long as [`Kept::of`] or [`Kept::reused_in`] run
//! their function, and on their thread alone.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Shape, TensorMetadata, backend::Backend};

use crate::operation::{Float, Operation};

/// What the wide operations of a gradient computed, in the order of their values.
#[derive(Debug, Clone)]
pub struct Kept {
    /// [Products](Operation::products) for a number from which on it is kept.
    least: usize,
    slots: Vec<Slot>,
}

/// The [`Work`] of some backend.
type Slot = Arc<dyn Any + Send + Sync>;

/// What was computed for one operation.
#[derive(Debug)]
pub(crate) struct Work<B: Backend> {
    operation: TypeId,
    shapes: Vec<Shape>,
    /// Where it is wide enough.
    value: Option<Float<B>>,
    /// The gradient of the loss at the first input, if it was wanted.
    pub at_input: OnceLock<Float<B>>,
}

impl<B: Backend> Work<B> {
    fn new<O: Operation>(x: &[Float<B>], value: Option<Float<B>>) -> Self {
        let shapes = x.iter().map(TensorMetadata::shape).collect();
        Self { operation: TypeId::of::<O>(), shapes, value, at_input: OnceLock::new() }
    }

    fn is_of<O: Operation>(&self, x: &[Float<B>]) -> bool {
        let shapes = x.iter().map(TensorMetadata::shape);
        self.operation == TypeId::of::<O>() && shapes.eq(self.shapes.iter().cloned())
    }
}

struct Pass {
    least: usize,
    order: Order,
}

enum Order {
    First(Vec<Slot>),
    Second { rest: std::vec::IntoIter<Slot>, last: Option<Slot> },
}

thread_local! {
    static PASS: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

impl Kept {
    /// What `gradient` computes where a number takes at least so many products, and what it
    /// returns. It evaluates the loss and runs backward.
    pub fn of<T>(least: usize, gradient: impl FnOnce() -> T) -> (T, Self) {
        let (result, pass) = during(Pass { least, order: Order::First(Vec::new()) }, gradient);
        let Order::First(slots) = pass.order else { unreachable!("the pass that was begun") };
        (result, Self { least, slots })
    }

    /// Runs `product`, which evaluates the same loss at the same point and runs backward from its
    /// tangent.
    ///
    /// # Panics
    /// If its wide operations are not those of the gradient.
    pub fn reused_in<T>(&self, product: impl FnOnce() -> T) -> T {
        let order = Order::Second { rest: self.slots.clone().into_iter(), last: None };
        let (result, pass) = during(Pass { least: self.least, order }, product);
        let left = matches!(&pass.order, Order::Second { rest, .. } if rest.len() > 0);
        assert!(!left, "the second pass has fewer operations than the first");
        result
    }
}

/// Runs a function within a pass; a panic leaves none behind.
fn during<T>(pass: Pass, function: impl FnOnce() -> T) -> (T, Pass) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            PASS.take();
        }
    }
    let before = PASS.replace(Some(pass));
    assert!(before.is_none(), "one pass within another");
    let reset = Reset;
    let result = function();
    let pass = PASS.take().expect("only this function ends a pass");
    drop(reset);
    (result, pass)
}

/// The value of an operation: computed, or the one of the first pass. The work is where a first
/// pass puts the gradient at the input.
pub(crate) fn value<B: Backend, O: Operation>(
    operation: &O,
    x: &[Float<B>],
    compute: impl FnOnce() -> Float<B>,
) -> (Float<B>, Option<Arc<Work<B>>>) {
    let Some([keeps_value, keeps_input]) = wide::<B, O>(operation, x) else {
        return (compute(), None);
    };
    if let Some(slot) = next() {
        let work = slot.downcast::<Work<B>>().ok().filter(|work| work.is_of::<O>(x));
        let work =
            work.unwrap_or_else(|| panic!("the first pass had no such {}", type_name::<O>()));
        return (work.value.clone().unwrap_or_else(compute), None);
    }
    let value = compute();
    let work = Arc::new(Work::<B>::new::<O>(x, keeps_value.then(|| value.clone())));
    PASS.with_borrow_mut(|pass| match pass {
        Some(Pass { order: Order::First(slots), .. }) => slots.push(work.clone()),
        _ => unreachable!("a pass is a first or a second one"),
    });
    (value, keeps_input.then_some(work))
}

/// Within a pass, whether value and gradient at the input are kept, if either is. What is not wide
/// leaves no last operation behind.
fn wide<B: Backend, O: Operation>(operation: &O, x: &[Float<B>]) -> Option<[bool; 2]> {
    PASS.with_borrow_mut(|pass| {
        let Pass { least, order } = pass.as_mut()?;
        if let Order::Second { last, .. } = order {
            *last = None;
        }
        let keeps = operation.products::<B>(x).map(|products| products >= *least);
        keeps.contains(&true).then_some(keeps)
    })
}

/// What the first pass had for the next operation, in a second pass.
fn next() -> Option<Slot> {
    PASS.with_borrow_mut(|pass| match pass {
        Some(Pass { order: Order::Second { rest, last }, .. }) => {
            *last = rest.next();
            let slot = last.clone();
            Some(slot.expect("the second pass has more operations than the first"))
        }
        _ => None,
    })
}

/// The gradient of the loss at the input of the operation whose value was asked for last, if this
/// is a second pass and the first one kept it.
pub(crate) fn at_input<B: Backend>() -> Option<Float<B>> {
    PASS.with_borrow(|pass| match pass {
        Some(Pass { order: Order::Second { last: Some(slot), .. }, .. }) => {
            slot.downcast_ref::<Work<B>>()?.at_input.get().cloned()
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
        let (y, kept) = Kept::of(4, || layer(2, 1.0));
        let again = kept.reused_in(|| layer(2, 7.0));
        assert_eq!(y.to_data(), again.to_data());
        assert_ne!(y.to_data(), layer(2, 7.0).to_data(), "outside of a pass nothing is taken");
    }

    #[test]
    fn a_second_pass_with_other_operations_is_refused() {
        let (_, kept) = Kept::of(4, || layer(2, 1.0));
        let others: [fn(); 3] =
            [|| {}, || drop(layer(3, 1.0)), || drop((layer(2, 1.0), layer(2, 1.0)))];
        for other in others {
            assert!(catch_unwind(AssertUnwindSafe(|| kept.reused_in(other))).is_err());
            kept.reused_in(|| layer(2, 1.0));
        }
    }

    #[test]
    fn what_is_narrow_is_not_kept() {
        let kept = |least| Kept::of(least, || layer(2, 1.0)).1.slots.len();
        assert_eq!([kept(3), kept(4), kept(5)], [1, 1, 0]);
    }
}
