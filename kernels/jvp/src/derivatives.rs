//! Gradients, directional derivatives and Hessian products of a function of [`Parameters`].

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{Tensor, TensorMetadata};

use crate::dual::Dual;
use crate::parameters::Parameters;
use crate::vector::Vector;

/// The value of a function and its gradient.
#[derive(Debug, Clone)]
pub struct Gradient<B: AutodiffBackend> {
    /// The value, `[1]` on the device.
    pub value: Tensor<B::InnerBackend, 1>,
    /// The gradient; `None` at parameters that are absent or that `wrt` left out.
    pub gradient: Vector<B::InnerBackend>,
}

/// The value of a function and its gradient, by one backward pass.
///
/// `wrt` says by index in which parameters the gradient is taken; the others are constants, for
/// which the backward pass does no work. The gradient is zero at parameters that the function does
/// not depend on.
pub fn gradient<B: AutodiffBackend>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
) -> Gradient<B> {
    let leaves = Leaves::<B>::new(at, wrt);
    let value = function(&Parameters::constant(&leaves.values)).primal;
    let gradient = leaves.gradient(&value);
    Gradient { value: value.inner(), gradient }
}

/// The value of a function and its directional derivative, by one forward pass (a Jacobian-vector
/// product).
///
/// The function may return a tensor of any rank, and the backend need not be an autodiff backend.
/// The tangent is `None` if the function does not depend on the parameters that move.
///
/// # Panics
/// As [`Parameters::along`].
pub fn jvp<B: Backend, const D: usize>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, D>,
    at: &Vector<B>,
    direction: &Vector<B>,
) -> Dual<B, D> {
    function(&Parameters::along(at, direction))
}

/// The product of the Hessian with a direction v, by one backward pass from φ = ⟨∇f, v⟩.
///
/// `wrt` says by index which rows of the Hessian are computed: the gradient of φ is taken in these
/// parameters. Parameters at which the direction is an exact zero do not move, and those that `wrt`
/// leaves out are constants, so a single block of the Hessian costs less than all of it.
///
/// # Panics
/// As [`Parameters::along`].
pub fn hessian_product<B: AutodiffBackend>(
    function: impl FnOnce(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    direction: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
) -> Vector<B::InnerBackend> {
    let leaves = Leaves::<B>::new(at, wrt);
    match jvp(function, &leaves.values, &on_tape(direction)).tangent {
        Some(phi) => leaves.gradient(&phi),
        None => leaves.zeros(),
    }
}

/// The product of the Hessian with a direction v by central differences of two gradients,
/// `(∇f(x + εv) − ∇f(x − εv)) / 2ε` with ε = `step` / ‖v‖.
///
/// It needs no tangent rules, which makes it a check of [`hessian_product`]. In f32 the best `step`
/// is about 1e-2, with a relative error of 4e-5.
///
/// # Panics
/// If the vectors differ in length, or two of their tensors in shape.
pub fn hessian_product_by_differences<B: AutodiffBackend>(
    function: impl Fn(&Parameters<B>) -> Dual<B, 1>,
    at: &Vector<B::InnerBackend>,
    direction: &Vector<B::InnerBackend>,
    wrt: impl Fn(usize) -> bool,
    step: f64,
) -> Vector<B::InnerBackend> {
    let norm = direction.norm();
    if norm == 0.0 {
        return Leaves::<B>::new(at, wrt).zeros();
    }
    let epsilon = step / norm;
    let slope =
        |sign: f64| gradient::<B>(&function, &at.axpy(sign * epsilon, direction), &wrt).gradient;
    slope(1.0).axpy(-1.0, &slope(-1.0)).scale(1.0 / (2.0 * epsilon))
}

/// Parameters on a new tape, as leaves where a gradient is wanted.
struct Leaves<B: AutodiffBackend> {
    values: Vector<B>,
    wanted: Vec<bool>,
}

impl<B: AutodiffBackend> Leaves<B> {
    fn new(at: &Vector<B::InnerBackend>, wrt: impl Fn(usize) -> bool) -> Self {
        let wanted: Vec<bool> = (0..at.len()).map(wrt).collect();
        let leaf = |(value, wanted): (Option<FloatTensor<B>>, &bool)| {
            let value = value?;
            Some(if *wanted { B::float_set_require_grad(value, true) } else { value })
        };
        let values = Vector(on_tape::<B>(at).0.into_iter().zip(&wanted).map(leaf).collect());
        Self { values, wanted }
    }

    /// The gradient of a value that was computed from these leaves.
    fn gradient(&self, value: &Tensor<B, 1>) -> Vector<B::InnerBackend> {
        // Burn panics in a backward pass from a tensor that depends on no leaf, such as the tangent
        // of a linear function. The factor of one is a leaf, so there always is one.
        let one = value.ones_like().require_grad();
        let grads = (value.clone() * one).backward();
        self.map(|leaf| B::grad(leaf, &grads).unwrap_or_else(|| zeros_like::<B>(leaf)))
    }

    fn zeros(&self) -> Vector<B::InnerBackend> {
        self.map(zeros_like::<B>)
    }

    /// A tensor for each leaf in which a gradient is wanted.
    fn map(
        &self,
        gradient: impl Fn(&FloatTensor<B>) -> FloatTensor<B::InnerBackend>,
    ) -> Vector<B::InnerBackend> {
        let entry = |(leaf, wanted): (&Option<FloatTensor<B>>, &bool)| {
            leaf.as_ref().filter(|_| *wanted).map(&gradient)
        };
        Vector(self.values.0.iter().zip(&self.wanted).map(entry).collect())
    }
}

/// The same vector as constants of an autodiff backend.
fn on_tape<B: AutodiffBackend>(vector: &Vector<B::InnerBackend>) -> Vector<B> {
    Vector(vector.0.iter().map(|entry| entry.clone().map(B::from_inner)).collect())
}

fn zeros_like<B: AutodiffBackend>(leaf: &FloatTensor<B>) -> FloatTensor<B::InnerBackend> {
    let (device, dtype) = (B::float_device(leaf), leaf.dtype());
    B::InnerBackend::float_zeros(leaf.shape(), &device, dtype.into())
}
