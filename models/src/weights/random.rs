//! Random weights, for models that only have to run.

use burn::tensor::backend::Backend;
use burn_seqlora::rng::Seed;
use burn_store::ModuleSnapshot;
use rand_distr::{Distribution, StandardNormal};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

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
    let snapshots = module.collect(None, None, true);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = snapshots
        .iter()
        .map(|snapshot| {
            let key = table.theirs(&snapshot.full_path());
            let shape = snapshot.shape.to_vec();
            let (mean, std) = moments(&key, &shape);
            let mut rng = seed.fork(&key).at(0);
            let normal = StandardNormal.sample_iter(&mut rng);
            let values = normal.take(shape.iter().product()).map(|x: f32| mean + std * x);
            (key, shape, values.flat_map(f32::to_le_bytes).collect())
        })
        .collect();
    let views = tensors.iter().map(|(key, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes fit the shape");
        (key.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, file)
        .map_err(|e| ModelError::Damaged { path: file.into(), reason: e.to_string() })
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
