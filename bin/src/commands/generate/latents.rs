//! Files of latents: what images start from, and what they ended as.

use std::path::Path;

use burn::tensor::TensorData;
use burn_seqlora::files::{FileError, read_bytes, write_atomic};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::failure::Failure;

/// Room for the header of a file besides its numbers.
const HEADER: usize = 1 << 20;

/// The latents of each image, `[1, channels, height, width]`, from a safetensors file with `latents`
/// `[images, channels, height, width]`.
///
/// # Errors
/// If the file cannot be read, is larger than such a file, or has another shape or numbers that are not
/// finite.
pub fn read_latents(file: &Path, shape: [usize; 4]) -> Result<Vec<TensorData>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let expected =
        |found: &str| wrong(format!("{found}, expected F32 {shape:?} for {} images", shape[0]));
    let numbers: usize = shape.iter().product();
    let limit = numbers.saturating_mul(size_of::<f32>()).saturating_add(HEADER);
    let bytes = read_bytes(file, limit as u64).map_err(|error| match error {
        FileError::TooLarge { .. } => expected("it holds more than `latents`"),
        FileError::Io { source, .. } => wrong(source.to_string()),
        error => Failure::usage(error),
    })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| wrong(format!("it is no safetensors file ({e})")))?;
    let view = tensors.tensor("latents").map_err(|_| wrong("there is no `latents`".into()))?;
    if view.shape() != shape || view.dtype() != Dtype::F32 {
        return Err(expected(&format!("`latents` is {:?} {:?}", view.dtype(), view.shape())));
    }
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(wrong("`latents` holds numbers that are not finite".into()));
    }
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
