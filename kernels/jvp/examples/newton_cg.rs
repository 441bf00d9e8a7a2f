//! Newton's method with conjugate gradients on a small MLP, beside gradient descent.
//!
//! The Hessian of 97 parameters is never formed: conjugate gradients need only its products with
//! vectors, and each costs a few gradients. Run with
//! `cargo run --release -p burn-jvp --example newton_cg`.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_flex::Flex;
use burn_jvp::*;

type B = Autodiff<Flex>;

/// The mean squared error of tanh networks 1 → 32 → 1 on 64 points of sin(3x).
fn loss(parameters: &Parameters<B>) -> Dual<B, 1> {
    let x = Tensor::<B, 1>::from_floats(grid().as_slice(), &Default::default()).reshape([64, 1]);
    let hidden = Dual::constant(x.clone()).matmul(parameters.get(0));
    let hidden = hidden.add_broadcast(parameters.get(1)).tanh();
    let output = hidden.matmul(parameters.get(2)).add_broadcast(parameters.get(3));
    let error = output.add_constant(-(x * 3.0).sin());
    (error.clone() * error).mean()
}

fn grid() -> Vec<f32> {
    (0..64).map(|i| i as f32 / 31.5 - 1.0).collect()
}

/// Weights and biases of both layers.
fn start() -> Vector<Flex> {
    let wave = |count: usize, scale: f32| -> Vec<f32> {
        (1..=count).map(|i| scale * (1.7 * (i * i) as f32).sin()).collect()
    };
    let row = |values: Vec<f32>| Tensor::<Flex, 1>::from_floats(&values[..], &Default::default());
    let [w, b] = [wave(32, 2.0), wave(32, 1.0)].map(|values| row(values).reshape([1, 32]));
    [w, b, row(wave(32, 0.3)).reshape([32, 1]), row(vec![0.0]).reshape([1, 1])]
        .into_iter()
        .collect()
}

fn value(at: &Vector<Flex>) -> f32 {
    gradient::<B>(loss, at, |_| false).value.into_scalar()
}

fn slope(at: &Vector<Flex>) -> Vector<Flex> {
    gradient::<B>(loss, at, |_| true).gradient
}

fn dot(a: &Vector<Flex>, b: &Vector<Flex>) -> f64 {
    a.dot(b).map_or(0.0, |product| product.into_scalar().into())
}

/// The step p with (H + λ I) p = −g, by at most 20 conjugate gradients. Where the curvature is
/// negative, Newton's method has no minimum to go to, and the step so far is taken.
fn newton_step(at: &Vector<Flex>, g: &Vector<Flex>, damping: f64) -> Vector<Flex> {
    let (mut step, mut residual) = (g.scale(0.0), g.scale(-1.0));
    let (mut direction, mut square) = (residual.clone(), dot(g, g));
    for iteration in 0..20 {
        let product = hessian_product::<B>(loss, at, &direction, |_| true);
        let product = product.axpy(damping, &direction);
        let curvature = dot(&direction, &product);
        if curvature <= 0.0 {
            return if iteration == 0 { residual } else { step };
        }
        let length = square / curvature;
        step = step.axpy(length, &direction);
        residual = residual.axpy(-length, &product);
        let next = dot(&residual, &residual);
        direction = residual.axpy(next / square, &direction);
        square = next;
    }
    step
}

fn main() {
    let at = start();
    let v = at.map(|entry| entry.sin());
    let exact = hessian_product::<B>(loss, &at, &v, |_| true);
    let differences = hessian_product_by_differences::<B>(loss, &at, &v, |_| true, 1e-2);
    println!("H v, output weights     {:.4}", exact.get::<2>(2).unwrap().narrow(0, 0, 4).to_data());
    println!(
        "by central differences  {:.4}",
        differences.get::<2>(2).unwrap().narrow(0, 0, 4).to_data()
    );

    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        (0..200).for_each(|_| work());
        start.elapsed().as_secs_f64()
    };
    let ratio =
        time(&|| drop(hessian_product::<B>(loss, &at, &v, |_| true))) / time(&|| drop(slope(&at)));
    println!("one Hessian product takes the time of {ratio:.1} gradients\n");

    let (mut newton, mut descent, mut damping, mut gradients) = (at.clone(), at, 1e-1, 0);
    println!("  gradients' worth   Newton-CG   gradient descent");
    for iteration in 0..=20 {
        if iteration % 4 == 0 {
            println!("  {gradients:>16}   {:>9.2e}   {:>16.2e}", value(&newton), value(&descent));
        }
        let g = slope(&newton);
        let next = newton.axpy(1.0, &newton_step(&newton, &g, damping));
        // Levenberg's rule: trust the quadratic model more where it has led downhill.
        if value(&next) < value(&newton) {
            (newton, damping) = (next, damping / 3.0);
        } else {
            damping *= 4.0;
        }
        // As much work for gradient descent: 20 Hessian products at about 3 gradients each.
        (0..61).for_each(|_| descent = descent.axpy(-0.05, &slope(&descent)));
        gradients += 61;
    }
}
