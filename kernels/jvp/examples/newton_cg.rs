//! Newton's method with conjugate gradients on a small network, compared with gradient descent.
//!
//! The Hessian is never formed: conjugate gradients need only its products with vectors. Run with
//! `cargo run --release -p burn-jvp --example newton_cg`.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_flex::Flex;
use burn_jvp::*;

type B = Autodiff<Flex>;
type Weights = Vector<Flex>;

/// The mean squared error of a network 1 → 32 (tanh) → 1 on 64 points of sin(5x).
fn loss(parameters: &Parameters<B>) -> Dual<B, 1> {
    let grid: Vec<f32> = (0..64).map(|i| i as f32 / 31.5 - 1.0).collect();
    let x = Tensor::<B, 1>::from_floats(&grid[..], &Default::default()).reshape([64, 1]);
    let hidden = Dual::constant(x.clone()).matmul(parameters.get(0));
    let hidden = hidden.add_broadcast(parameters.get(1)).tanh();
    let output = hidden.matmul(parameters.get(2)).add_broadcast(parameters.get(3));
    let error = output.add_constant(-(x * 5.0).sin());
    (error.clone() * error).mean()
}

/// Weights and biases of both layers, with values that look irregular.
fn start() -> Weights {
    let layer = |shape: [usize; 2], scale: f32| {
        let wave = |i: usize| scale * (1.7 * (i * i) as f32).sin();
        let values: Vec<f32> = (1..=shape[0] * shape[1]).map(wave).collect();
        Tensor::<Flex, 1>::from_floats(&values[..], &Default::default()).reshape(shape)
    };
    [layer([1, 32], 2.0), layer([1, 32], 1.0), layer([32, 1], 0.1), layer([1, 1], 0.0)]
        .into_iter()
        .collect()
}

fn dot(a: &Weights, b: &Weights) -> f64 {
    a.dot(b).map_or(0.0, |product| product.into_scalar().into())
}

/// Minimises the quadratic model ⟨g, p⟩ + ½ ⟨p, H p⟩ over steps p no longer than `radius`, by at
/// most 30 conjugate gradients (Steihaug's method); returns p and by how much the model falls.
fn newton_step(at: &Weights, g: &Weights, radius: f64) -> (Weights, f64) {
    let (mut step, mut residual) = (g.scale(0.0), g.scale(-1.0));
    let mut direction = residual.clone();
    for _ in 0..30 {
        let product = hessian_product::<B>(loss, at, &direction, |_| true);
        let (square, curvature) = (dot(&residual, &residual), dot(&direction, &product));
        // A step ends at the radius, which negative curvature always leads to.
        let (along, length) = (dot(&step, &direction), dot(&direction, &direction));
        let room = radius * radius - dot(&step, &step);
        let most = ((along * along + length * room).sqrt() - along) / length;
        let newton = if curvature > 0.0 { square / curvature } else { f64::INFINITY };
        step = step.axpy(newton.min(most), &direction);
        residual = residual.axpy(-newton.min(most), &product);
        if newton >= most {
            break;
        }
        direction = residual.axpy(dot(&residual, &residual) / square, &direction);
    }
    let fall = 0.5 * dot(&step, &residual.axpy(-1.0, g));
    (step, fall)
}

fn main() {
    let (mut newton, mut descent, mut radius) = (start(), start(), 1.0);
    let v = newton.map(Tensor::cos);
    let exact = hessian_product::<B>(loss, &newton, &v, |_| true);
    let differences = hessian_product_by_differences::<B>(loss, &newton, &v, |_| true, 1e-2);
    println!("⟨v, H v⟩ = {:.5}, by differences {:.5}", dot(&v, &exact), dot(&v, &differences));
    let error = exact.axpy(-1.0, &differences).norm() / exact.norm();
    println!("relative distance of H v to central differences: {error:.0e}\n");

    let slope = |at: &Weights| gradient::<B>(loss, at, |_| true).gradient;
    let value = |at: &Weights| f64::from(gradient::<B>(loss, at, |_| false).value.into_scalar());
    println!("iteration   Newton-CG   120 steps of gradient descent");
    for iteration in 0..=60 {
        if iteration % 10 == 0 {
            println!("{iteration:>9}   {:>9.1e}   {:>9.1e}", value(&newton), value(&descent));
        }
        let (step, fall) = newton_step(&newton, &slope(&newton), radius);
        let next = newton.axpy(1.0, &step);
        let ratio = (value(&newton) - value(&next)) / fall;
        // The radius grows where the model predicts the loss well, and shrinks where it does not.
        radius *= if ratio > 0.75 {
            2.0
        } else if ratio < 0.25 {
            0.25
        } else {
            1.0
        };
        newton = if ratio > 0.0 { next } else { newton };
        // As much work as 30 Hessian products; at a rate of 0.12 gradient descent diverges.
        (0..120).for_each(|_| descent = descent.axpy(-0.1, &slope(&descent)));
    }
}
