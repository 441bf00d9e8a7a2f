//! Safetensors files of f32 matrices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorInfo, TensorView};
use seqlora_files::write_atomic;
use serde_json::Value;

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

/// Reads one f32 matrix without the rest of its file.
///
/// # Errors
/// If the file is missing or cut off, or holds no finite f32 matrix of this name.
pub fn read_tensor(path: &Path, name: &str) -> Result<([usize; 2], Vec<f32>)> {
    let mut file = File::open(path).map_err(Error::io("cannot read", path))?;
    // The header: its length in 8 bytes, then each tensor's type, shape and place as JSON.
    let read = |file: &mut File, place: u64, length: usize| {
        let mut bytes = vec![0; length];
        let filled = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(&mut bytes));
        filled.map_err(Error::io("cannot read", path)).map(|()| bytes)
    };
    let length = read(&mut file, 0, 8)?.try_into().map(u64::from_le_bytes).expect("eight bytes");
    let left = file.metadata().map_err(Error::io("cannot read", path))?.len().saturating_sub(8);
    if length > left {
        return Err(Error::damaged(path, "its header is cut off"));
    }
    let header = read(&mut file, 8, length as usize)?;
    let mut header: BTreeMap<String, Value> =
        serde_json::from_slice(&header).map_err(|e| Error::damaged(path, e))?;
    let entry = header.remove(name);
    let entry = entry.ok_or_else(|| Error::damaged(path, format!("`{name}` is missing")))?;
    let TensorInfo { dtype, shape, data_offsets: (start, end) } =
        serde_json::from_value(entry).map_err(|e| Error::damaged(path, e))?;
    if end < start || end as u64 > left - length {
        return Err(Error::damaged(path, format!("`{name}` is cut off")));
    }
    let bytes = read(&mut file, 8 + length + start as u64, end - start)?;
    let view = TensorView::new(dtype, shape, &bytes).map_err(|e| Error::damaged(path, e))?;
    matrix(path, name, &view)
}

/// The matrices in the bytes of a safetensors file; the path is for messages.
///
/// # Errors
/// If the file is cut off, or holds anything but finite f32 matrices.
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<NamedTensors> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::damaged(path, e))?;
    let named = |(name, view): (String, TensorView)| {
        let matrix = matrix(path, &name, &view)?;
        Ok((name, matrix))
    };
    file.tensors().into_iter().map(named).collect()
}

/// The numbers of a tensor, if it is a finite f32 matrix.
fn matrix(path: &Path, name: &str, view: &TensorView) -> Result<([usize; 2], Vec<f32>)> {
    let damaged = |reason: &str| Error::damaged(path, format!("`{name}` {reason}"));
    let shape: [usize; 2] = view.shape().try_into().map_err(|_| damaged("is no matrix"))?;
    if view.dtype() != Dtype::F32 {
        return Err(damaged("is not f32"));
    }
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
    match values.iter().all(|x| x.is_finite()) {
        true => Ok((shape, values)),
        false => Err(damaged("holds numbers that are not finite")),
    }
}
