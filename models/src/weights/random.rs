//! Random weights, for models that only have to run.

use burn::tensor::backend::Backend;
use burn_store::ModuleSnapshot;
use rand_distr::{Distribution, StandardNormal};
use seqlora_core::rng::Seed;

use super::save::{Entry, Stored, write_entries};
use super::{KeyTable, ModelError};

/// A safetensors file with random weights for every parameter of `module`.
///
/// Matrices and kernels are normal with the variance 1 / inputs, normalisation weights are near 1,
/// everything else is small, so that activations keep their size from layer to layer.
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
    let entries: Vec<Entry> = module.collect(None, None, true).iter().map(entry).collect();
    write_entries(&entries, Stored::F32, file)
}

fn moments(key: &str, shape: &[usize]) -> (f32, f32) {
    let inputs: usize = shape.iter().skip(1).product();
    match (key.ends_with(".weight"), shape.len()) {
        (true, 1) => (1.0, 0.1),
        (true, _) if key.contains("embedding.weight") => (0.0, 0.02),
        (true, _) => (0.0, (inputs as f32).powf(-0.5)),
        _ => (0.0, 0.02),
    }
}
