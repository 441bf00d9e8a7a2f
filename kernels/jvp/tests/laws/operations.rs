//! Laws of each operation on dual numbers.

use burn::tensor::{DType, FloatDType, backend::Backend};
use burn_flex::Flex;
use burn_jvp::{
    Dual, Parameters, Vector, gradient, hessian_product, hessian_product_by_differences, jvp,
};

use crate::support::{Tape, assert_close, assert_near, inner, values, wave, waves};

/// An operation with the shapes of its inputs. The output is flattened.
struct Case {
    name: &'static str,
    shapes: &'static [&'static [usize]],
    /// Around which value the inputs lie: 0, or 2 where they must be positive.
    centre: f64,
    apply: fn(&Parameters<Tape>) -> Dual<Tape, 1>,
}

/// A case for `$body`, an operation on the inputs `$x`, each of its own rank.
macro_rules! case {
    ($name:literal, $centre:literal, [$($x:ident: $shape:expr),+], $body:expr) => {
        Case {
            name: $name,
            shapes: &[$(&$shape),+],
            centre: $centre,
            apply: |parameters| {
                let mut indices = 0..;
                $(
                    let $x = parameters.get::<{ rank($shape) }>(indices.next().unwrap());
                )+
                flat($body)
            },
        }
    };
}

const fn rank<const D: usize>(_: [usize; D]) -> usize {
    D
}

fn flat<const D: usize>(dual: Dual<Tape, D>) -> Dual<Tape, 1> {
    let count = dual.dims().iter().product();
    dual.reshape([count])
}

fn cases() -> Vec<Case> {
    vec![
        case!("add", 0.0, [x: [2, 3], y: [2, 3]], x + y),
        case!("sub", 0.0, [x: [2, 3], y: [2, 3]], x - y),
        case!("neg", 0.0, [x: [2, 3]], -x),
        case!("mul", 0.0, [x: [2, 3], y: [2, 3]], x * y),
        case!("div", 2.0, [x: [2, 3], y: [2, 3]], x / y),
        case!("scale", 0.0, [x: [5]], x.scale(-1.5)),
        case!("add_scalar", 0.0, [x: [5]], x.add_scalar(0.7)),
        case!("add_constant", 0.0, [x: [2, 3]], x.add_constant(wave([2, 3], 9.0, 0.0))),
        case!("mul_constant", 0.0, [x: [2, 3]], x.mul_constant(wave([2, 3], 9.0, 0.0))),
        case!("add_broadcast", 0.0, [x: [4, 3], y: [1, 3]], x.add_broadcast(y)),
        case!("matmul", 0.0, [x: [2, 4], y: [4, 3]], x.matmul(y)),
        case!("matmul, batched", 0.0, [x: [2, 3, 4], y: [2, 4, 2]], x.matmul(y)),
        case!("transpose", 0.0, [x: [2, 3, 4]], x.transpose()),
        case!("reshape", 0.0, [x: [2, 6]], x.reshape([3, 2, 2])),
        case!("expand", 0.0, [x: [2, 1, 3]], x.expand([2, 4, 3])),
        case!("swap_dims", 0.0, [x: [2, 3, 4]], x.swap_dims(0, 2)),
        case!("permute", 0.0, [x: [2, 3, 4]], x.permute([2, 0, 1])),
        case!("narrow", 0.0, [x: [3, 5]], x.narrow(1, 1, 3)),
        case!("cat", 0.0, [x: [2, 3], y: [2, 2]], x.cat(y, 1)),
        case!("upsample_nearest", 0.0, [x: [1, 2, 2, 3]], x.upsample_nearest(2)),
        case!("pad_bottom_right", 0.0, [x: [1, 2, 2, 3]], x.pad_bottom_right(1)),
        case!("sum", 0.0, [x: [2, 3]], x.sum()),
        case!("mean", 0.0, [x: [2, 3]], x.mean()),
        case!("sum_dim", 0.0, [x: [2, 3, 2]], x.sum_dim(1)),
        case!("mean_dim", 0.0, [x: [2, 3, 2]], x.mean_dim(1)),
        case!("exp", 0.0, [x: [7]], x.exp()),
        case!("log", 2.0, [x: [7]], x.log()),
        case!("sqrt", 2.0, [x: [7]], x.sqrt()),
        case!("recip", 2.0, [x: [7]], x.recip()),
        case!("relu", 0.0, [x: [7]], x.relu()),
        case!("sin", 0.0, [x: [7]], x.sin()),
        case!("cos", 0.0, [x: [7]], x.cos()),
        case!("tanh", 0.0, [x: [7]], x.tanh()),
        case!("sigmoid", 0.0, [x: [7]], x.sigmoid()),
        case!("softplus", 0.0, [x: [7]], x.softplus()),
        case!("softmax", 0.0, [x: [3, 4]], x.softmax(1)),
        case!("log_softmax", 0.0, [x: [3, 4]], x.log_softmax(0)),
    ]
}

impl Case {
    fn at<B: Backend>(&self) -> Vector<B> {
        waves(self.shapes, 0.5, self.centre)
    }

    fn direction<B: Backend>(&self, seed: f64) -> Vector<B> {
        waves(self.shapes, seed, 0.0)
    }

    fn value(&self, at: &Vector<Tape>) -> Vec<f64> {
        values(&(self.apply)(&Parameters::constant(at)).primal)
    }

    fn tangent(&self, direction: &Vector<Tape>) -> Vec<f64> {
        values(&jvp(self.apply, &self.at(), direction).tangent.expect("every input is used"))
    }

    /// ⟨u, y⟩ + ⟨y, y⟩ of the output y: a loss with a Hessian even where the operation is linear.
    fn loss(&self, parameters: &Parameters<Tape>) -> Dual<Tape, 1> {
        let y = (self.apply)(parameters);
        let weights = wave(y.dims(), 4.0, 0.0);
        y.clone().mul_constant(weights).sum() + (y.clone() * y).sum()
    }
}

#[test]
fn a_tangent_is_the_central_difference() {
    for case in cases() {
        let direction = case.direction(1.0);
        let step = 1e-5;
        let [above, below] =
            [step, -step].map(|step| case.value(&case.at().axpy(step, &direction)));
        let found = case.tangent(&direction);
        assert_eq!(found.len(), above.len(), "{}", case.name);
        for ((found, above), below) in found.into_iter().zip(above).zip(below) {
            assert_close(case.name, found, (above - below) / (2.0 * step), 1e-8);
        }
    }
}

#[test]
fn a_tangent_is_linear_in_the_direction() {
    for case in cases() {
        let [v, w] = [1.0, 2.0].map(|seed| case.direction(seed));
        let found = case.tangent(&v.scale(0.4).axpy(-1.3, &w));
        for ((found, v), w) in found.iter().zip(case.tangent(&v)).zip(case.tangent(&w)) {
            assert_close(case.name, *found, 0.4 * v - 1.3 * w, 1e-12);
        }
    }
}

/// ⟨u, J v⟩ = ⟨Jᵀ u, v⟩, where Jᵀ u is Burn's own backward pass.
#[test]
fn forward_and_backward_are_adjoint() {
    for case in cases() {
        let forward = case.tangent(&case.direction(1.0));
        let u = wave::<Tape, 1>([forward.len()], 4.0, 0.0);
        let product = |p: &Parameters<Tape>| (case.apply)(p).mul_constant(u.clone()).sum();
        let backward = gradient::<Tape>(product, &case.at(), |_| true).gradient;
        let forward: f64 = forward.iter().zip(values(&u)).map(|(t, u)| t * u).sum();
        assert_close(case.name, inner(&backward, &case.direction(1.0)), forward, 1e-12);
    }
}

/// `None` and a tensor of zeros give the same numbers, not only close ones, and a tangent changes
/// no value.
#[test]
fn none_is_an_exact_zero() {
    for case in cases() {
        let moved = jvp(case.apply, &case.at(), &case.direction(1.0));
        assert_eq!(values(&moved.primal), case.value(&case.at()), "{}: value", case.name);
        for fixed in 0..case.shapes.len() {
            let (mut none, mut zeros) = (Vector::default(), Vector::default());
            for (index, shape) in case.shapes.iter().enumerate() {
                let entry = waves::<Tape>(&[shape], 1.0, 0.0);
                let factor = if index == fixed { 0.0 } else { 1.0 };
                push(&mut none, &entry, shape.len(), index != fixed);
                push(&mut zeros, &entry.scale(factor), shape.len(), true);
            }
            let zeros = case.tangent(&zeros);
            let none = jvp(case.apply, &case.at(), &none).tangent;
            let none = none.map_or_else(|| vec![0.0; zeros.len()], |tangent| values(&tangent));
            assert_eq!(none, zeros, "{}: input {fixed} does not move", case.name);
        }
    }
}

/// Adds the one tensor of `entry`, or an exact zero.
fn push(vector: &mut Vector<Tape>, entry: &Vector<Tape>, rank: usize, moves: bool) {
    match rank {
        1 => vector.push(entry.get::<1>(0).filter(|_| moves)),
        2 => vector.push(entry.get::<2>(0).filter(|_| moves)),
        3 => vector.push(entry.get::<3>(0).filter(|_| moves)),
        _ => vector.push(entry.get::<4>(0).filter(|_| moves)),
    }
}

#[test]
fn an_operation_without_tangents_has_none() {
    for case in cases() {
        let constant = (case.apply)(&Parameters::constant(&case.at()));
        assert!(constant.tangent.is_none(), "{}", case.name);
    }
}

/// The backward pass of each tangent rule is right: it gives second derivatives.
#[test]
fn a_hessian_product_is_the_difference_of_gradients_and_symmetric() {
    for case in cases() {
        let at: Vector<Flex> = case.at();
        let [v, u] = [1.0, 2.0].map(|seed| case.direction(seed));
        let loss = |p: &Parameters<Tape>| case.loss(p);
        let product = |v| hessian_product::<Tape>(loss, &at, v, |_| true);
        let differences = hessian_product_by_differences::<Tape>(loss, &at, &v, |_| true, 1e-4);
        assert_near(case.name, &product(&v), &differences, 1e-7);
        assert_close(case.name, inner(&u, &product(&v)), inner(&v, &product(&u)), 1e-12);
    }
}

#[test]
fn a_cast_applies_to_both() {
    let x = Dual::<Flex, 1>::new(wave([3], 0.0, 0.0), wave([3], 1.0, 0.0)).cast(FloatDType::F32);
    assert_eq!([x.primal.dtype(), x.tangent.unwrap().dtype()], [DType::F32; 2]);
}

#[test]
#[should_panic(expected = "a tangent has the shape of its value")]
fn a_tangent_of_another_shape_is_refused() {
    let _ = Dual::<Flex, 1>::new(wave([3], 0.0, 0.0), wave([2], 0.0, 0.0));
}
