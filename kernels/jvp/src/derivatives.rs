//! Gradients, directional derivatives and Hessian products of a scalar function.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{Shape, Tensor, TensorMetadata};

use crate::dual::Dual;
use crate::vector::{Parameters, Vector, number};

/// The value of a function and its gradient.
#[derive(Debug, Clone)]
pub struct Gradient<B: AutodiffBackend> {
    /// The value, `[1]` on the device.
    pub value: Tensor<B::InnerBackend, 1>,
    /// The gradient; `None` at parameters in which it was not asked for.
    pub gradient: Vector<B::InnerBackend>,
}

/// Value and gradient by one backward pass.
///
/// `wrt` tells by number in which parameters the gradient is taken; the others cost no backward pass.
/// A parameter that the function does not reach has gradient zero.
pub fn gradient<B: AutodiffBackend>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
) -> Gradient<B> {
    let leaves = Leaves::<B>::new(at, wrt);
    let value = function(&leaves.constant()).primal;
    let gradient = leaves.gradient(&value);
    Gradient { value: value.inner(), gradient }
}

/// The directional derivative ⟨∇f, direction⟩ by one forward pass, `[1]`; `None` if the function does
/// not depend on what moves.
pub fn jvp<B: burn::tensor::backend::Backend>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B>,
    direction: &Vector<B>,
) -> Option<Tensor<B, 1>> {
    let parameters = Parameters { primal: at.0.clone(), tangent: direction.0.clone() };
    function(&parameters).tangent
}

/// The product of the Hessian with a direction, by one backward pass of φ = ⟨∇f, direction⟩.
///
/// `wrt` chooses the rows of the Hessian: the gradient of φ is taken in these parameters. Parameters
/// at which the direction is an exact zero do not move, so blocks of the Hessian come cheap.
pub fn hessian_product<B: AutodiffBackend>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    direction: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
) -> Vector<B::InnerBackend> {
    let leaves = Leaves::<B>::new(at, wrt);
    match function(&leaves.along(direction)).tangent {
        Some(phi) => leaves.gradient(&phi),
        None => leaves.zeros(),
    }
}

/// The same product by central differences, `(∇f(x + εv) − ∇f(x − εv)) / 2ε` with ε‖v‖ = `step`.
///
/// An independent check: in f32 the best `step` is about 1e-2, with a relative error of 4e-5.
pub fn hessian_product_by_differences<B: AutodiffBackend>(
    function: impl Fn(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    direction: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
    step: f64,
) -> Vector<B::InnerBackend> {
    let square = direction.dot(direction);
    let norm = square.map_or(0.0, |square| number(square).sqrt());
    if norm == 0.0 {
        return Leaves::<B>::new(at, wrt).zeros();
    }
    let epsilon = step / norm;
    let slope =
        |sign: f64| gradient::<B>(&function, &at.axpy(sign * epsilon, direction), &wrt).gradient;
    slope(1.0).axpy(-1.0, &slope(-1.0)).scale(1.0 / (2.0 * epsilon))
}

/// Parameters as leaves of a new tape.
struct Leaves<B: AutodiffBackend> {
    leaves: Vec<Option<FloatTensor<B>>>,
    wanted: Vec<bool>,
}

impl<B: AutodiffBackend> Leaves<B> {
    fn new(at: &Vector<B::InnerBackend>, wrt: impl Fn(usize) -> bool) -> Self {
        let wanted: Vec<bool> = (0..at.len()).map(wrt).collect();
        let leaf = |(value, wanted): (&Option<FloatTensor<B::InnerBackend>>, &bool)| {
            let value = B::from_inner(value.clone()?);
            Some(if *wanted { B::float_set_require_grad(value, true) } else { value })
        };
        Self { leaves: at.0.iter().zip(&wanted).map(leaf).collect(), wanted }
    }

    fn constant(&self) -> Parameters<B> {
        Parameters { primal: self.leaves.clone(), tangent: vec![None; self.leaves.len()] }
    }

    fn along(&self, direction: &Vector<B::InnerBackend>) -> Parameters<B> {
        assert_eq!(self.leaves.len(), direction.len(), "a direction in the same space");
        let tangent = direction.0.iter().map(|v| v.clone().map(B::from_inner)).collect();
        Parameters { primal: self.leaves.clone(), tangent }
    }

    /// The gradient of a value that was computed from these leaves.
    fn gradient(&self, value: &Tensor<B, 1>) -> Vector<B::InnerBackend> {
        let grads = value.backward();
        self.map(|leaf| B::grad(leaf, &grads).unwrap_or_else(|| zeros_like::<B>(leaf)))
    }

    fn zeros(&self) -> Vector<B::InnerBackend> {
        self.map(zeros_like::<B>)
    }

    fn map(
        &self,
        gradient: impl Fn(&FloatTensor<B>) -> FloatTensor<B::InnerBackend>,
    ) -> Vector<B::InnerBackend> {
        let part = |(leaf, wanted): (&Option<FloatTensor<B>>, &bool)| {
            leaf.as_ref().filter(|_| *wanted).map(&gradient)
        };
        Vector(self.leaves.iter().zip(&self.wanted).map(part).collect())
    }
}

fn zeros_like<B: AutodiffBackend>(leaf: &FloatTensor<B>) -> FloatTensor<B::InnerBackend> {
    let shape: Shape = leaf.shape();
    let (device, dtype) = (B::float_device(leaf), leaf.dtype());
    B::InnerBackend::float_zeros(shape, &device, dtype.into())
}
