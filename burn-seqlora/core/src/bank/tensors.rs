//! Safetensors files of f32 matrices.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use seqlora_files::write_atomic;

use crate::error::{Error, Result};

/// f32 matrices by name.
pub type NamedTensors = BTreeMap<String, ([usize; 2], Vec<f32>)>;

/// Writes f32 matrices as safetensors, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &NamedTensors) -> Result<()> {
    Ok(write_atomic(path, &to_safetensors(path, tensors)?)?)
}

/// The bytes of a safetensors file; the path is for messages.
pub fn to_safetensors(path: &Path, tensors: &NamedTensors) -> Result<Vec<u8>> {
    let bytes: Vec<(&str, [usize; 2], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), *shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fit the shape");
        (*name, view)
    });
    safetensors::serialize(views, None).map_err(|e| Error::damaged(path, e))
}

/// Reads f32 matrices.
///
/// # Errors
/// If the file is missing, cut off, or holds anything but finite f32 matrices.
pub fn read_tensors(path: &Path) -> Result<NamedTensors> {
    let bytes = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    parse_tensors(path, &bytes)
}

/// The matrices in the bytes of a safetensors file; the path is for messages.
///
/// # Errors
/// If the file is cut off, or holds anything but finite f32 matrices.
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<NamedTensors> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::damaged(path, e))?;
    let matrix = |(name, view): (String, TensorView)| {
        let damaged = |reason: &str| Error::damaged(path, format!("`{name}` {reason}"));
        let shape: [usize; 2] = view.shape().try_into().map_err(|_| damaged("is no matrix"))?;
        if view.dtype() != Dtype::F32 {
            return Err(damaged("is not f32"));
        }
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
        let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        match values.iter().all(|x| x.is_finite()) {
            true => Ok((name, (shape, values))),
            false => Err(damaged("holds numbers that are not finite")),
        }
    };
    file.tensors().into_iter().map(matrix).collect()
}
