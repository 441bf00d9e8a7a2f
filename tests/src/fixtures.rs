//! Reading the reference numbers, and comparing with them.

use std::env;
use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use burn_seqlora::lora::Factors;
use safetensors::{Dtype, SafeTensors};

/// A folder or file under `tests/fixtures`; in the folder that `SEQLORA_FIXTURES` names, for a test program on another machine
/// than the one that it was built on.
pub fn path(name: &str) -> PathBuf {
    match env::var_os("SEQLORA_FIXTURES") {
        Some(folder) => Path::new(&folder).join(name),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name),
    }
}

/// One safetensors file of reference numbers.
#[derive(Debug)]
pub struct Fixture {
    bytes: Vec<u8>,
}

impl Fixture {
    /// # Panics
    /// If the file is not there: `reference/make_fixtures.py` makes it.
    pub fn open(name: &str) -> Self {
        let path = path(name);
        Self { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) }
    }

    fn view<T>(&self, name: &str, f: impl FnOnce(&[u8], &[usize], Dtype) -> T) -> T {
        let file = SafeTensors::deserialize(&self.bytes).expect("a fixture is a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no `{name}` in the fixture"));
        f(view.data(), view.shape(), view.dtype())
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a fixture is a safetensors file");
        file.names().into_iter().map(String::from).collect()
    }

    /// An f32 tensor.
    pub fn float<B: Backend, const D: usize>(&self, name: &str) -> Tensor<B, D> {
        self.view(name, |bytes, shape, dtype| {
            assert_eq!(dtype, Dtype::F32, "{name}");
            let values: Vec<f32> =
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            Tensor::from_data(TensorData::new(values, shape.to_vec()), &B::Device::default())
        })
    }

    /// An int64 tensor, as numbers.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.view(name, |bytes, _, dtype| {
            assert_eq!(dtype, Dtype::I64, "{name}");
            bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
        })
    }

    /// An f32 tensor's numbers.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.view(name, |bytes, _, dtype| {
            assert_eq!(dtype, Dtype::F32, "{name}");
            let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap()) as f64;
            bytes.chunks_exact(4).map(number).collect()
        })
    }

    /// Token ids `[prompts, 77]`.
    pub fn ids<B: Backend>(&self, name: &str) -> Tensor<B, 2, Int> {
        let ids: Vec<i32> = self.integers(name).into_iter().map(|id| id as i32).collect();
        let rows = ids.len() / 77;
        Tensor::from_data(TensorData::new(ids, [rows, 77]), &B::Device::default())
    }
}

/// The largest absolute value; infinite if a number is NaN, which must not pass.
pub fn largest(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let greater = |m, x: f64| if x.is_nan() { f64::INFINITY } else { f64::max(m, x.abs()) };
    numbers.into_iter().fold(0.0, greater)
}

/// Largest difference, relative to the largest expected number.
pub fn relative_error<B: Backend, C: Backend, const D: usize>(
    actual: &Tensor<B, D>,
    expected: &Tensor<C, D>,
) -> f64 {
    assert_eq!(actual.dims(), expected.dims());
    let numbers = |data: TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    let (actual, expected) = (numbers(actual.to_data()), numbers(expected.to_data()));
    let scale = largest(expected.iter().copied()).max(f64::MIN_POSITIVE);
    largest(actual.iter().zip(&expected).map(|(a, e)| a - e)) / scale
}

/// # Panics
/// If the relative error exceeds the tolerance.
pub fn assert_close<B: Backend, C: Backend, const D: usize>(
    what: &str,
    actual: &Tensor<B, D>,
    expected: &Tensor<C, D>,
    tolerance: f64,
) {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} > {tolerance:.0e}");
    println!("{what}: relative error {error:.2e}");
}

/// ‖a − b‖ / ‖b‖ over all sites.
pub fn distance<B: Backend>(a: &Factors<B>, b: &Factors<B>) -> f64 {
    a.axpy(-1.0, b).norm() / b.norm()
}

/// # Panics
/// If the relative distance exceeds the tolerance.
pub fn assert_near<B: Backend>(what: &str, a: &Factors<B>, b: &Factors<B>, tolerance: f64) {
    let error = distance(a, b);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} > {tolerance:.0e}");
    println!("{what}: relative error {error:.2e}");
}

/// # Panics
/// If the difference exceeds `tolerance` times `scale`.
pub fn assert_close_numbers(what: &str, a: f64, b: f64, scale: f64, tolerance: f64) {
    let error = (a - b).abs() / scale;
    assert!(error <= tolerance, "{what}: {a} and {b}, error {error:.2e} > {tolerance:.0e}");
    println!("{what}: relative error {error:.2e}");
}

/// # Panics
/// If a bit differs, or a number is not finite.
pub fn assert_identical<B: Backend>(what: &str, a: &Factors<B>, b: &Factors<B>) {
    assert_eq!(a.len(), b.len(), "{what}");
    for site in 0..a.len() {
        let [a, b] = [a, b].map(|factors| factors.get(site).map(|matrix| matrix.to_data()));
        assert_eq!(a, b, "{what} at site {site}");
        let size = largest(a.iter().flat_map(TensorData::iter::<f64>));
        assert!(size.is_finite(), "{what} at site {site} is not finite");
    }
}
