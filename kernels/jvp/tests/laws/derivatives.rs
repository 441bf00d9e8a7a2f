//! Laws of gradients, directional derivatives and Hessian products.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;
use burn_jvp::{
    Dual, Gradient, Parameters, Vector, gradient, hessian_product, hessian_product_by_differences,
    jvp,
};

use crate::support::{Tape, assert_close, assert_near, from_values, inner, values, wave, waves};

/// Parameters of ranks 4, 2 and 1: an image, a matrix and a bias.
const SHAPES: [&[usize]; 3] = [&[1, 2, 3, 3], &[9, 4], &[4]];

/// A smooth function of an image, a matrix and a bias that is linear in none of them.
fn network<B: Backend>(parameters: &Parameters<B>) -> Dual<B, 1> {
    let image = parameters.get::<4>(0);
    let pixels = image.clone().sin().reshape([2, 9]);
    let bias = parameters.get::<1>(2).reshape([1, 4]);
    let hidden = pixels.matmul(parameters.get::<2>(1)).add_broadcast(bias).tanh();
    let likelihood = hidden.log_softmax(1).mul_constant(wave([2, 4], 7.0, 0.0)).sum();
    likelihood + (image.clone() * image).mean()
}

fn at<B: Backend>() -> Vector<B> {
    waves(&SHAPES, 0.5, 0.0)
}

fn direction<B: Backend>(seed: f64) -> Vector<B> {
    waves(&SHAPES, seed, 0.0)
}

fn product(direction: &Vector<Flex>) -> Vector<Flex> {
    hessian_product::<Tape>(network, &at(), direction, |_| true)
}

/// A vector of the first, second and third entry, where `None` is an exact zero.
fn entries(v: &Vector<Flex>, [image, matrix, bias]: [bool; 3]) -> Vector<Flex> {
    let mut chosen = Vector::default();
    chosen.push(v.get::<4>(0).filter(|_| image));
    chosen.push(v.get::<2>(1).filter(|_| matrix));
    chosen.push(v.get::<1>(2).filter(|_| bias));
    chosen
}

fn present(v: &Vector<Flex>) -> [bool; 3] {
    [v.get::<4>(0).is_some(), v.get::<2>(1).is_some(), v.get::<1>(2).is_some()]
}

#[test]
fn a_directional_derivative_is_the_gradient_times_the_direction() {
    let Gradient { value, gradient } = gradient::<Tape>(network, &at(), |_| true);
    let Dual { primal, tangent } = jvp(network, &at::<Flex>(), &direction(1.0));
    assert_eq!(values(&primal), values(&value));
    let slope = inner(&gradient, &direction(1.0));
    assert_close("slope", values(&tangent.unwrap())[0], slope, 1e-12);
}

#[test]
fn a_gradient_is_the_central_difference() {
    let slope = inner(&gradient::<Tape>(network, &at(), |_| true).gradient, &direction(1.0));
    let value = |step: f64| {
        let at = at::<Flex>().axpy(step, &direction(1.0));
        values(&network(&Parameters::constant(&at)).primal)[0]
    };
    assert_close("slope", slope, (value(1e-5) - value(-1e-5)) / 2e-5, 1e-9);
}

#[test]
fn a_hessian_product_is_the_difference_of_gradients() {
    let v = direction(1.0);
    let differences = hessian_product_by_differences::<Tape>(network, &at(), &v, |_| true, 1e-4);
    assert_near("H v", &product(&v), &differences, 1e-8);
}

/// ⟨u, H v⟩ = ⟨v, H u⟩ and H (a u + b v) = a H u + b H v.
#[test]
fn the_hessian_is_symmetric_and_linear() {
    let [u, v] = [1.0, 2.0].map(direction);
    let [hu, hv] = [product(&u), product(&v)];
    assert_close("symmetry", inner(&u, &hv), inner(&v, &hu), 1e-12);
    let sum = product(&u.scale(0.4).axpy(-1.3, &v));
    assert_near("linearity", &sum, &hu.scale(0.4).axpy(-1.3, &hv), 1e-12);
}

/// The same product by two nested tapes, without any tangent rule: H v = ∇⟨∇f, v⟩.
#[test]
fn a_hessian_product_is_that_of_nested_tapes() {
    type Outer = Autodiff<Tape>;
    let leaves =
        [wave::<Tape, 1>([5], 0.5, 0.0), wave::<Tape, 1>([5], 0.8, 0.0)].map(Tensor::require_grad);
    fn function<B: Backend>(parameters: &Parameters<B>) -> Dual<B, 1> {
        let (x, y) = (parameters.get::<1>(0), parameters.get::<1>(1));
        ((x.clone() * y.clone()).tanh() * x.exp() + y.sin()).sum()
    }
    let shapes: [&[usize]; 2] = [&[5], &[5]];
    let v = waves::<Tape>(&shapes, 1.0, 0.0);
    let slope = gradient::<Outer>(function, &leaves.iter().cloned().collect(), |_| true).gradient;
    let grads = slope.dot(&v).unwrap().backward();
    let expected: Vector<Flex> = leaves.iter().map(|leaf| leaf.grad(&grads).unwrap()).collect();
    let at = leaves.into_iter().map(Tensor::inner).collect();
    let found = hessian_product::<Tape>(function, &at, &waves(&shapes, 1.0, 0.0), |_| true);
    assert_near("H v", &found, &expected, 1e-12);
}

/// f(x) = ½ xᵀ M x with M = Nᵀ N has the Hessian M.
#[test]
fn the_hessian_of_a_quadratic_form_is_its_matrix() {
    let n = wave::<Flex, 2>([4, 4], 3.0, 0.0);
    let form = |parameters: &Parameters<Tape>| {
        let x = parameters.get::<2>(0);
        let nx = Dual::constant(Tensor::from_inner(n.clone())).matmul(x);
        (nx.clone() * nx).sum().scale(0.5)
    };
    let v = wave::<Flex, 2>([4, 1], 1.0, 0.0);
    let at = Vector::from(wave([4, 1], 0.5, 0.0));
    let found = hessian_product::<Tape>(form, &at, &v.clone().into(), |_| true);
    let expected = n.clone().transpose().matmul(n.matmul(v));
    assert_near("M v", &found, &expected.into(), 1e-13);
}

/// The cross-entropy of a softmax has the Hessian diag(p) − p pᵀ in the logits.
#[test]
fn the_hessian_of_a_cross_entropy_is_the_covariance_of_the_classes() {
    let entropy = |parameters: &Parameters<Tape>| {
        let target = from_values(vec![0.0, 1.0, 0.0], [3]);
        -parameters.get::<1>(0).log_softmax(0).mul_constant(target).sum()
    };
    let p = [0.2, 0.5, 0.3f64];
    let v = [1.0, -2.0, 0.5];
    let mean: f64 = p.iter().zip(v).map(|(p, v)| p * v).sum();
    let expected = p.iter().zip(v).map(|(p, v)| p * (v - mean)).collect::<Vec<_>>();
    let logits = from_values::<Flex, 1>(p.map(f64::ln).to_vec(), [3]);
    let v = from_values(v.to_vec(), [3]);
    let found = hessian_product::<Tape>(entropy, &logits.into(), &Vector::from(v), |_| true);
    let expected = from_values::<Flex, 1>(expected, [3]);
    assert_near("H v", &found, &expected.into(), 1e-14);
}

/// Logistic regression, Σ log(1 + e^{x_i · w}), has the Hessian Xᵀ diag(σ(1 − σ)) X.
#[test]
fn the_hessian_of_a_logistic_regression_is_known() {
    let x = wave::<Flex, 2>([6, 3], 2.0, 0.0);
    let loss = |parameters: &Parameters<Tape>| {
        let x = Dual::constant(Tensor::from_inner(x.clone()));
        x.matmul(parameters.get::<2>(0)).softplus().sum()
    };
    let (w, v) = (wave::<Flex, 2>([3, 1], 0.5, 0.0), wave::<Flex, 2>([3, 1], 1.0, 0.0));
    let found = hessian_product::<Tape>(loss, &w.clone().into(), &v.clone().into(), |_| true);
    let sigma = burn::tensor::activation::sigmoid(x.clone().matmul(w));
    let weights = sigma.clone() * (-sigma + 1.0);
    let expected = x.clone().transpose().matmul(weights * x.matmul(v));
    assert_near("H v", &found, &expected.into(), 1e-13);
}

/// Entries of a direction that are an exact zero give what zeros give.
#[test]
fn an_exact_zero_in_a_direction_is_a_zero() {
    let zeros = direction(1.0).scale(0.0);
    for chosen in [[true, false, false], [false, true, true], [false, false, true]] {
        let none = entries(&direction(1.0), chosen);
        let filled = none.axpy(1.0, &zeros);
        // Equal but for the order in which the backward pass adds gradients up.
        assert_near("H v", &product(&none), &product(&filled), 1e-14);
    }
    let nothing = entries(&direction(1.0), [false; 3]);
    assert_near("H 0", &product(&nothing), &zeros, 0.0);
    let differences =
        hessian_product_by_differences::<Tape>(network, &at(), &nothing, |_| true, 1e-4);
    assert_near("H 0 by differences", &differences, &zeros, 0.0);
    assert!(jvp(network, &at::<Flex>(), &nothing).tangent.is_none());
}

/// `wrt` leaves out the other parameters and changes no number of the remaining ones.
#[test]
fn a_subset_of_the_parameters_gives_the_same_numbers() {
    let v = direction(1.0);
    let (all, all_products) = (gradient::<Tape>(network, &at(), |_| true).gradient, product(&v));
    for chosen in [[true, false, false], [false, true, true], [false, false, false]] {
        let some = gradient::<Tape>(network, &at(), |index| chosen[index]).gradient;
        assert_eq!(present(&some), chosen);
        assert_near("∇f", &some, &entries(&all, chosen), 0.0);
        let some = hessian_product::<Tape>(network, &at(), &v, |index| chosen[index]);
        assert_eq!(present(&some), chosen);
        assert_near("H v", &some, &entries(&all_products, chosen), 0.0);
    }
}

/// The blocks H_ab and H_ba are transposes of each other: ⟨u_a, H_ab v_b⟩ = ⟨v_b, H_ba u_a⟩.
#[test]
fn blocks_of_the_hessian_are_transposes() {
    let image = entries(&direction(1.0), [true, false, false]);
    let matrix = entries(&direction(2.0), [false, true, false]);
    let rows = |v, row| hessian_product::<Tape>(network, &at(), v, |index| index == row);
    let [from_matrix, from_image] = [rows(&matrix, 0), rows(&image, 1)];
    assert!(from_matrix.norm() > 1e-3);
    assert_close("H_ab", inner(&image, &from_matrix), inner(&matrix, &from_image), 1e-12);
}

/// The derivatives in a parameter that the function does not depend on are zeros of its shape.
#[test]
fn a_parameter_that_is_not_reached_has_zero_derivatives() {
    let function = |parameters: &Parameters<Tape>| {
        let bias = parameters.get::<1>(2);
        (bias.clone() * bias).sum()
    };
    let slope = gradient::<Tape>(function, &at(), |_| true).gradient;
    let products = hessian_product::<Tape>(function, &at(), &direction(1.0), |_| true);
    for found in [slope, products] {
        assert_eq!(values(&found.get::<2>(1).unwrap()), [0.0; 36]);
        assert_eq!(found.get::<4>(0).unwrap().dims(), [1, 2, 3, 3]);
        assert!(found.norm() > 0.1);
    }
}

/// The tangent of a linear function does not depend on the parameters, nor does the value of a
/// constant one.
#[test]
fn functions_without_a_tape_have_zero_derivatives() {
    let linear = |parameters: &Parameters<Tape>| parameters.get::<1>(2).sum();
    let constant = |_: &Parameters<Tape>| Dual::constant(wave([1], 0.0, 0.0));
    let zeros = at().scale(0.0);
    let product = hessian_product::<Tape>(linear, &at(), &direction(1.0), |_| true);
    assert_near("H of a linear function", &product, &zeros, 0.0);
    let product = hessian_product::<Tape>(constant, &at(), &direction(1.0), |_| true);
    assert_near("H of a constant", &product, &zeros, 0.0);
    assert_near(
        "∇ of a constant",
        &gradient::<Tape>(constant, &at(), |_| true).gradient,
        &zeros,
        0.0,
    );
    let nothing = gradient::<Tape>(linear, &at(), |_| false).gradient;
    assert_eq!(present(&nothing), [false; 3]);
}

/// A parameter may be absent; its derivatives are absent, too.
#[test]
fn a_parameter_may_be_absent() {
    let function = |parameters: &Parameters<Tape>| {
        assert!(parameters.find::<2>(1).is_none());
        parameters.get::<1>(2).exp().sum()
    };
    let chosen = [true, false, true];
    let at = entries(&at(), chosen);
    let slope = gradient::<Tape>(function, &at, |_| true).gradient;
    assert_eq!(present(&slope), chosen);
    let product =
        hessian_product::<Tape>(function, &at, &entries(&direction(1.0), chosen), |_| true);
    assert_eq!(present(&product), chosen);
    assert!(product.norm() > 0.1);
}

#[test]
#[should_panic(expected = "the absent parameter 1 moves")]
fn an_absent_parameter_cannot_move() {
    jvp(network, &entries(&at(), [true, false, true]), &direction(1.0));
}

#[test]
#[should_panic(expected = "vectors of 3 and 1 entries")]
fn a_direction_of_another_length_is_refused() {
    jvp(network, &at::<Flex>(), &Vector::from(wave([4], 1.0, 0.0)));
}

#[test]
#[should_panic(expected = "entry 2 of two vectors")]
fn a_direction_of_another_shape_is_refused() {
    let shapes: [&[usize]; 3] = [SHAPES[0], SHAPES[1], &[3]];
    hessian_product::<Tape>(network, &at(), &waves(&shapes, 1.0, 0.0), |_| true);
}

#[test]
#[should_panic(expected = "entry 0 is of rank 4 and is asked for as one of rank 2")]
fn a_parameter_of_another_rank_is_refused() {
    Parameters::constant(&at::<Flex>()).get::<2>(0);
}
