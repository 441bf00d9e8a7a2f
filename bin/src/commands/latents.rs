//! Files of latents: what images start from, and what they ended as.

use std::fs;
use std::path::Path;

use burn::tensor::TensorData;
use burn_seqlora::files::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::failure::Failure;

/// The latents of each image, `[1, channels, height, width]`, from a safetensors file with `latents`
/// `[images, channels, height, width]`.
///
/// # Errors
/// If the file cannot be read or has another shape.
pub fn read_latents(file: &Path, shape: [usize; 4]) -> Result<Vec<TensorData>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let bytes = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| wrong(format!("it is no safetensors file ({e})")))?;
    let view = tensors.tensor("latents").map_err(|_| wrong("there is no `latents`".into()))?;
    if view.shape() != shape || view.dtype() != Dtype::F32 {
        return Err(wrong(format!(
            "`latents` is {:?} {:?}, expected F32 {shape:?} for {} images",
            view.dtype(),
            view.shape(),
            shape[0]
        )));
    }
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
    let one = shape[1] * shape[2] * shape[3];
    let single = [1, shape[1], shape[2], shape[3]];
    Ok(values.chunks(one).map(|part| TensorData::new(part.to_vec(), single)).collect())
}

/// Writes such a file.
///
/// # Errors
/// If it cannot be written.
pub fn write_latents(file: &Path, shape: [usize; 4], values: &[f32]) -> Result<(), Failure> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes)?;
    Ok(write_atomic(file, &safetensors::serialize([("latents", view)], None)?)?)
}
