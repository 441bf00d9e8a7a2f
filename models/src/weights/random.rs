//! Random weights for new models.

use burn::tensor::backend::Backend;
use burn_store::ModuleSnapshot;
use rand_distr::{Distribution, StandardNormal};
use seqlora_core::rng::Seed;

use super::save::{Stored, TensorEntry, write_entries};
use super::{KeyTable, ModelError};

/// Writes a safetensors file with random weights for every parameter of `module`.
///
/// Matrices and convolution kernels are normal with the variance 1 / inputs and normalisation weights
/// have the mean 1, so that activations keep their magnitude from layer to layer. Embeddings and biases
/// have the standard deviation 0.02.
///
/// # Errors
/// If the file cannot be written.
pub fn random_weights<B: Backend, M: ModuleSnapshot<B>>(
    module: &M,
    table: KeyTable,
    seed: &Seed,
    file: &std::path::Path,
) -> Result<(), ModelError> {
    let entry = |snapshot: &burn_store::TensorSnapshot| {
        let key = table.theirs(&snapshot.full_path());
        let shape = snapshot.shape.to_vec();
        let (mean, std) = moments(&key, &shape);
        let normal = StandardNormal.sample_iter(seed.fork(&key).at(0));
        let values = normal.take(shape.iter().product()).map(|x: f32| mean + std * x).collect();
        (key, shape, values)
    };
    let entries: Vec<TensorEntry> = module.collect(None, None, true).iter().map(entry).collect();
    write_entries(&entries, Stored::F32, file)
}

/// The mean and the standard deviation of a parameter.
fn moments(key: &str, shape: &[usize]) -> (f32, f32) {
    let inputs: usize = shape.iter().skip(1).product();
    match (key.ends_with(".weight"), shape.len()) {
        (true, 1) => (1.0, 0.1),
        (true, _) if key.contains("embedding.weight") => (0.0, 0.02),
        (true, _) => (0.0, (inputs as f32).powf(-0.5)),
        _ => (0.0, 0.02),
    }
}
