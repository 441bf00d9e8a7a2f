//! Inputs and comparisons.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_flex::Flex;
use burn_jvp::Vector;

/// The backend with a tape.
pub type Tape = Autodiff<Flex>;

/// A tensor of f64, with values that look irregular and lie between `centre` − 1 and `centre` + 1.
pub fn wave<B: Backend, const D: usize>(dims: [usize; D], seed: f64, centre: f64) -> Tensor<B, D> {
    let count = dims.iter().product::<usize>();
    let values = (0..count).map(|i| centre + (1.7 * i as f64 + seed).sin()).collect::<Vec<_>>();
    from_values(values, dims)
}

/// A tensor of f64 with given values.
pub fn from_values<B: Backend, const D: usize>(values: Vec<f64>, dims: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, dims), (&Default::default(), DType::F64))
}

/// A vector of tensors of the given shapes.
pub fn waves<B: Backend>(shapes: &[&[usize]], seed: f64, centre: f64) -> Vector<B> {
    let mut vector = Vector::default();
    for (index, shape) in shapes.iter().enumerate() {
        let seed = seed + 0.3 * index as f64;
        match **shape {
            [a] => vector.push(Some(wave([a], seed, centre))),
            [a, b] => vector.push(Some(wave([a, b], seed, centre))),
            [a, b, c] => vector.push(Some(wave([a, b, c], seed, centre))),
            [a, b, c, d] => vector.push(Some(wave([a, b, c, d], seed, centre))),
            _ => panic!("no tensors of rank {}", shape.len()),
        }
    }
    vector
}

/// The elements of a tensor.
pub fn values<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f64> {
    tensor.to_data().iter().collect()
}

/// The inner product of two vectors, zero if it is an exact zero.
pub fn inner<B: Backend>(a: &Vector<B>, b: &Vector<B>) -> f64 {
    a.dot(b).map_or(0.0, |product| values(&product)[0])
}

/// Asserts that two numbers agree to a relative error, or to an absolute one below 1.
#[track_caller]
pub fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found} instead of {expected}");
}

/// Asserts that two vectors agree to a relative error in norm, or to an absolute one below 1.
#[track_caller]
pub fn assert_near<B: Backend>(
    what: &str,
    found: &Vector<B>,
    expected: &Vector<B>,
    tolerance: f64,
) {
    let error = found.axpy(-1.0, expected).norm() / expected.norm().max(1.0);
    assert!(error <= tolerance, "{what}: a relative error of {error:.1e}");
}
