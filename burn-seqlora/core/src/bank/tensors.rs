//! Safetensors files of matrices.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo, TensorView, View};
use seqlora_files::{FileError, Header, read_bytes, sort_metadata, write_atomic};

use crate::error::{Error, Result};

/// The largest file of matrices in bytes: an optimizer's state of all layers of SD1.5 at rank 128 takes
/// 2 GB.
const LARGEST: u64 = 8 << 30;

/// A matrix: rows and columns, and its numbers row by row.
pub type Matrix = ([usize; 2], Vec<f32>);

/// Matrices by name that lie elsewhere.
pub type BorrowedTensors<'a> = BTreeMap<String, ([usize; 2], &'a [f32])>;

/// f32 matrices by name.
pub type NamedTensors = BTreeMap<String, Matrix>;

/// Writes f32 matrices as safetensors, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &NamedTensors) -> Result<()> {
    write_arrays(path, tensors, BTreeMap::new())
}

/// The bytes of a safetensors file; the path is for messages.
pub fn to_safetensors<V: AsRef<[f32]>>(
    path: &Path,
    tensors: &BTreeMap<String, ([usize; 2], V)>,
) -> Result<Vec<u8>> {
    arrays_to_bytes(path, tensors, &BTreeMap::new())
}

/// Writes f32 tensors and metadata as safetensors, atomically. Shapes have two numbers, or any number of them.
///
/// # Errors
/// If the file cannot be written.
pub fn write_arrays<S: AsRef<[usize]>, V: AsRef<[f32]>>(
    path: &Path,
    tensors: &BTreeMap<String, (S, V)>,
    metadata: BTreeMap<String, String>,
) -> Result<()> {
    Ok(write_atomic(path, &arrays_to_bytes(path, tensors, &metadata)?)?)
}

/// The bytes of a safetensors file of f32 tensors and metadata; the path is for messages.
///
/// # Errors
/// If its header would be too large.
///
/// # Panics
/// If a tensor's shape has another number of elements than it has numbers.
pub fn arrays_to_bytes<S: AsRef<[usize]>, V: AsRef<[f32]>>(
    path: &Path,
    tensors: &BTreeMap<String, (S, V)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let owned = |(key, text): (&String, &String)| (key.clone(), text.clone());
    let metadata = (!metadata.is_empty()).then(|| metadata.iter().map(owned).collect());
    let views = tensors.iter().map(|(name, (shape, values))| {
        let (shape, values) = (shape.as_ref(), values.as_ref());
        assert_eq!(shape.iter().product::<usize>(), values.len(), "numbers of `{name}`");
        (name.as_str(), Numbers { shape, values })
    });
    let mut bytes = safetensors::serialize(views, metadata).map_err(|e| Error::damaged(path, e))?;
    sort_metadata(&mut bytes);
    Ok(bytes)
}

/// A tensor whose bytes are made when they are written.
struct Numbers<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
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

/// Tensors by name, of any number of dimensions.
pub type NamedArrays = BTreeMap<String, Array>;

/// Reads all tensors of a file of another tool as f32, whatever their shapes and floating-point types.
///
/// # Errors
/// If the file is too large for an adapter or cut off, or holds anything but numbers that are finite in
/// f32.
pub fn read_arrays(header: &Header) -> Result<NamedArrays> {
    let path = header.path();
    let bytes = |info: &TensorInfo| (info.data_offsets.1 - info.data_offsets.0) as u64;
    if header.tensors().values().map(bytes).sum::<u64>() > LARGEST {
        return Err(FileError::TooLarge { path: path.into(), limit: LARGEST }.into());
    }
    let array = |(name, info): (&String, &TensorInfo)| {
        Ok((name.clone(), (info.shape.clone(), read_array(header, name, info)?)))
    };
    header.tensors().iter().map(array).collect()
}

/// The numbers of one of a file's tensors in f32.
///
/// # Errors
/// If it holds anything but numbers that are finite in f32, or the file cannot be read.
pub fn read_array(header: &Header, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
    let damaged = |reason: String| Error::damaged(header.path(), format!("`{name}` {reason}"));
    let values = floats(info.dtype, &header.bytes(info)?).map_err(damaged)?;
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(values),
        false => Err(damaged(NOT_FINITE.into())),
    }
}

/// The matrices in the bytes of a safetensors file; the path is for messages.
///
/// # Errors
/// If the file is cut off, or holds anything but finite f32 matrices.
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<NamedTensors> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::damaged(path, e))?;
    let matrix = |(name, view): (String, TensorView)| {
        let damaged = |reason: String| Error::damaged(path, format!("`{name}` {reason}"));
        let no_matrix = |_| damaged(format!("is no matrix: its shape is {:?}", view.shape()));
        let shape: [usize; 2] = view.shape().try_into().map_err(no_matrix)?;
        let values = match view.dtype() {
            Dtype::F32 => floats(Dtype::F32, view.data()).map_err(damaged)?,
            other => return Err(damaged(format!("is not f32 but {other}"))),
        };
        match values.iter().all(|x| x.is_finite()) {
            true => Ok((name, (shape, values))),
            false => Err(damaged(NOT_FINITE.into())),
        }
    };
    file.tensors().into_iter().map(matrix).collect()
}

const NOT_FINITE: &str = "holds numbers that are not finite";

/// Numbers of any floating-point type, rounded to f32.
fn floats(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.chunks_exact(N).map(|b| number(b.try_into().expect("N bytes"))).collect()
    }
    match dtype {
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
    ) -> (Result<NamedTensors>, Result<NamedArrays>) {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors::serialize([("x", view)], None).unwrap()).unwrap();
        (read_tensors(file.path()), read_arrays(&Header::read(file.path()).unwrap()))
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
            assert_eq!(converted.unwrap(), expected, "{dtype}");
            let error = strict.unwrap_err().to_string();
            assert!(error.contains(&format!("`x` is not f32 but {dtype}")), "{error}");
        }
    }

    #[test]
    fn other_tensors_are_named() {
        let (strict, converted) = read(Dtype::F32, &[1, 1, 1, 1], &[0; 4]);
        assert_eq!(converted.unwrap()["x"].0, [1, 1, 1, 1]);
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
        write_arrays(file.path(), &tensors, metadata.clone()).unwrap();
        let header = Header::read(file.path()).unwrap();
        assert_eq!((read_arrays(&header).unwrap(), header.metadata()), (tensors, &metadata));
    }
}
