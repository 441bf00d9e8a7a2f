//! Safetensors files, taken apart to be changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Type, shape, bytes.
pub type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// Tensors by name.
pub type Weights = BTreeMap<String, Tensor>;

/// Reads a safetensors file.
pub fn read(path: &Path) -> Weights {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let parts = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    tensors.into_iter().map(|(name, view)| (name, parts(view))).collect()
}

/// Writes one.
pub fn write(path: &Path, weights: &Weights) {
    let views = weights.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fit the shape"))
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The file of `latents` of this shape that `--latents` reads.
pub fn write_latents(path: &Path, shape: [usize; 4], values: &[f32]) {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    write(path, &Weights::from([("latents".into(), (Dtype::F32, shape.to_vec(), bytes))]));
}

/// Numbers that are about as large as normal noise.
pub fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) * 3.4 - 1.7) as f32
    };
    (0..count).map(|_| next()).collect()
}
