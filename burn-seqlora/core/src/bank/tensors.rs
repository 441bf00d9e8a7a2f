//! Safetensors files of matrices.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use seqlora_files::{read_bytes, write_atomic};

use crate::error::{Error, Result};

/// The largest file of matrices in bytes: an optimizer's state of all layers of SD1.5 at rank 128 takes
/// 2 GB.
const LARGEST: u64 = 8 << 30;

/// A matrix: rows and columns, and its numbers row by row.
pub type Matrix = ([usize; 2], Vec<f32>);

/// f32 matrices by name.
pub type NamedTensors = BTreeMap<String, Matrix>;

/// Writes f32 matrices as safetensors, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &NamedTensors) -> Result<()> {
    Ok(write_atomic(path, &to_safetensors(path, tensors)?)?)
}

/// The bytes of a safetensors file; the path is for messages.
pub fn to_safetensors(path: &Path, tensors: &NamedTensors) -> Result<Vec<u8>> {
    let array = |(name, (shape, values)): (&String, &Matrix)| {
        (name.clone(), (shape.to_vec(), values.clone()))
    };
    arrays_to_bytes(path, &tensors.iter().map(array).collect(), None)
}

/// Writes f32 tensors and metadata as safetensors, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_arrays(path: &Path, (tensors, metadata): &ArraysAndMetadata) -> Result<()> {
    let metadata = metadata.iter().map(|(key, text)| (key.clone(), text.clone())).collect();
    Ok(write_atomic(path, &arrays_to_bytes(path, tensors, Some(metadata))?)?)
}

fn arrays_to_bytes(
    path: &Path,
    tensors: &BTreeMap<String, Array>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), &shape[..], values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fit the shape");
        (*name, view)
    });
    safetensors::serialize(views, metadata).map_err(|e| Error::damaged(path, e))
}

/// Reads f32 matrices.
///
/// # Errors
/// If the file is missing, cut off, or holds anything but finite f32 matrices.
pub fn read_tensors(path: &Path) -> Result<NamedTensors> {
    let bytes = read_bytes(path, LARGEST)?;
    parse_tensors(path, &bytes)
}

/// A tensor of any number of dimensions: its shape, and its numbers in row-major order.
pub type Array = (Vec<usize>, Vec<f32>);

/// What a safetensors file of another tool holds: tensors, and text by key.
pub type ArraysAndMetadata = (BTreeMap<String, Array>, BTreeMap<String, String>);

/// Reads tensors of any floating-point type and shape, which other tools write, as f32, with the file's
/// metadata.
///
/// # Errors
/// If the file is missing, cut off, or holds anything but numbers that are finite in f32.
pub fn read_arrays(path: &Path) -> Result<ArraysAndMetadata> {
    let bytes = read_bytes(path, LARGEST)?;
    let tensors = parse(path, &bytes, floats, |shape| Some(shape.to_vec()))?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|e| Error::damaged(path, e))?;
    let metadata = header.metadata().iter().flatten();
    Ok((tensors, metadata.map(|(key, text)| (key.clone(), text.clone())).collect()))
}

/// The matrices in the bytes of a safetensors file; the path is for messages.
///
/// # Errors
/// If the file is cut off, or holds anything but finite f32 matrices.
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<NamedTensors> {
    let numbers = |view: &TensorView| match view.dtype() {
        Dtype::F32 => floats(view),
        other => Err(format!("is not f32 but {other}")),
    };
    parse(path, bytes, numbers, |shape| shape.try_into().ok())
}

/// The tensors in the bytes of a file; `numbers` gives the numbers of a tensor, or says why their type
/// is refused, and `shape` its shape, unless that is no matrix's where matrices are wanted.
fn parse<S>(
    path: &Path,
    bytes: &[u8],
    numbers: impl Fn(&TensorView) -> Result<Vec<f32>, String>,
    shape: impl Fn(&[usize]) -> Option<S>,
) -> Result<BTreeMap<String, (S, Vec<f32>)>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::damaged(path, e))?;
    let matrix = |(name, view): (String, TensorView)| {
        let damaged = |reason: String| Error::damaged(path, format!("`{name}` {reason}"));
        let no_matrix = || damaged(format!("is no matrix: its shape is {:?}", view.shape()));
        let shape = shape(view.shape()).ok_or_else(no_matrix)?;
        let values = numbers(&view).map_err(damaged)?;
        match values.iter().all(|x| x.is_finite()) {
            true => Ok((name, (shape, values))),
            false => Err(damaged("holds numbers that are not finite".into())),
        }
    };
    file.tensors().into_iter().map(matrix).collect()
}

/// The numbers of a tensor of any floating-point type, rounded to f32.
fn floats(view: &TensorView) -> Result<Vec<f32>, String> {
    fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.chunks_exact(N).map(|b| number(b.try_into().expect("N bytes"))).collect()
    }
    let bytes = view.data();
    match view.dtype() {
        Dtype::F16 => Ok(convert(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Ok(convert(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Ok(convert(bytes, f32::from_le_bytes)),
        Dtype::F64 => Ok(convert(bytes, |b| f64::from_le_bytes(b) as f32)),
        other => Err(format!("holds numbers of type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As matrices of f32 only, and as whatever another tool writes.
    fn read(
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> (Result<NamedTensors>, Result<ArraysAndMetadata>) {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors::serialize([("x", view)], None).unwrap()).unwrap();
        (read_tensors(file.path()), read_arrays(file.path()))
    }

    #[test]
    fn other_types_are_read_only_where_they_are_wanted() {
        let numbers = [1.5f32, -0.25];
        let expected = BTreeMap::from([("x".into(), (vec![1, 2], numbers.to_vec()))]);
        let files = [
            (Dtype::F16, numbers.map(|x| f16::from_f32(x).to_le_bytes()).concat()),
            (Dtype::BF16, numbers.map(|x| bf16::from_f32(x).to_le_bytes()).concat()),
            (Dtype::F64, numbers.map(|x| f64::from(x).to_le_bytes()).concat()),
        ];
        for (dtype, bytes) in files {
            let (strict, converted) = read(dtype, &[1, 2], &bytes);
            assert_eq!(converted.unwrap().0, expected, "{dtype}");
            let error = strict.unwrap_err().to_string();
            assert!(error.contains(&format!("`x` is not f32 but {dtype}")), "{error}");
        }
    }

    #[test]
    fn other_tensors_are_named() {
        let (strict, converted) = read(Dtype::F32, &[1, 1, 1, 1], &[0; 4]);
        assert_eq!(converted.unwrap().0["x"].0, [1, 1, 1, 1]);
        let kernel = strict.unwrap_err().to_string();
        assert!(kernel.contains("`x` is no matrix: its shape is [1, 1, 1, 1]"), "{kernel}");
        let error = |dtype, bytes: &[u8]| read(dtype, &[1, 1], bytes).1.unwrap_err().to_string();
        let integer = error(Dtype::I64, &[0; 8]);
        assert!(integer.contains("`x` holds numbers of type I64"), "{integer}");
        let large = error(Dtype::F64, &1e300f64.to_le_bytes());
        assert!(large.contains("`x` holds numbers that are not finite"), "{large}");
    }

    #[test]
    fn metadata_come_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tensors = BTreeMap::from([("x.alpha".to_string(), (vec![], vec![4.0]))]);
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        write_arrays(file.path(), &(tensors.clone(), metadata.clone())).unwrap();
        assert_eq!(read_arrays(file.path()).unwrap(), (tensors, metadata));
    }
}
