//! One weight of a file: where it is, and its numbers.

use std::rc::Rc;

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use seqlora_core::precision::Precision;

use super::fused::Slice;
use super::{Header, ModelError};

/// A tensor of a file, or a slice of one, in our shape. Its type is one that is read, and its shape fits
/// its bytes.
#[derive(Debug, Clone)]
pub(super) struct StoredWeight {
    header: Rc<Header>,
    /// Its key in the file.
    pub(super) key: String,
    slice: Option<Slice>,
    /// Whether its rows are columns in our module.
    transposed: bool,
    /// Its shape in our module.
    pub(super) shape: Vec<usize>,
    dtype: DType,
}

impl StoredWeight {
    /// The tensor `key` of a file, or a slice of it, as the parameter `path` of our module.
    ///
    /// # Errors
    /// A sentence, if its numbers are no floating-point numbers, or it cannot be sliced or
    /// transposed.
    pub(super) fn new(
        header: &Rc<Header>,
        key: &str,
        slice: Option<Slice>,
        transposed: bool,
        path: &str,
    ) -> Result<Self, String> {
        let TensorInfo { dtype, shape, .. } = &header.tensors()[key];
        let Some(number) = float(*dtype) else {
            return Err(format!("`{key}` holds {dtype:?} numbers; F64, F32, F16 or BF16 are read"));
        };
        let mut shape = shape.clone();
        if let Some(Slice { count, .. }) = slice {
            match shape.first_mut() {
                Some(rows) if rows.is_multiple_of(count) => *rows /= count,
                _ => {
                    return Err(format!(
                        "`{key}` has shape {shape:?}, which has no {count} equal parts"
                    ));
                }
            }
        }
        match &mut shape[..] {
            [rows, columns] if transposed => std::mem::swap(rows, columns),
            _ if transposed => {
                return Err(format!("`{key}` has shape {shape:?}, which is no matrix"));
            }
            _ => {}
        }
        let (header, key) = (Rc::clone(header), key.to_string());
        Ok(Self { header, key, slice, transposed, shape: our_shape(path, shape), dtype: number })
    }

    /// Reads its numbers, in `precision`.
    ///
    /// # Errors
    /// A sentence, if the file cannot be read, or a number is not finite or outside the precision's range.
    pub(super) fn read(&self, precision: Precision) -> Result<TensorData, String> {
        let mut bytes = self.bytes().map_err(|e| e.to_string())?;
        if let Some(Slice { index, count }) = self.slice {
            let length = bytes.len() / count;
            bytes = bytes[index * length..(index + 1) * length].to_vec();
        }
        let data = TensorData::from_bytes_vec(bytes, self.shape.clone(), self.dtype);
        let mut data = if self.dtype == DType::F32 { data } else { data.convert_dtype(DType::F32) };
        if let ([rows, columns], true) = (&self.shape[..], self.transposed) {
            let stored = data.as_slice::<f32>().expect("it holds f32 numbers");
            let column = |row: usize| (0..*columns).map(move |column| stored[column * rows + row]);
            let numbers: Vec<f32> = (0..*rows).flat_map(column).collect();
            data = TensorData::new(numbers, self.shape.clone());
        }
        let numbers = data.as_slice::<f32>().expect("it holds f32 numbers");
        let failed = |at: usize, why: &str| {
            Err(format!("`{}`: element {at} is {}; {why}", self.key, numbers[at]))
        };
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            return failed(at, "the model in the file is broken");
        }
        match numbers.iter().position(|x| x.abs() > precision.largest()) {
            Some(at) => failed(at, "use a precision with a larger range"),
            None if precision == Precision::F32 => Ok(data),
            None => Ok(data.convert_dtype(precision.dtype().into())),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, ModelError> {
        Ok(self.header.bytes(&self.header.tensors()[&self.key])?)
    }
}

/// The types of numbers that are read.
pub(super) fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// The shape of a parameter in our module. The projections of attention are linear layers here, but
/// 1×1 convolutions in the original VAE. A ViT's own tokens are a batch of one, but a list or a single
/// vector in CLIP.
fn our_shape(path: &str, mut shape: Vec<usize>) -> Vec<usize> {
    let projection = path.rsplit('.').nth(1).is_some_and(|layer| layer.starts_with("to_"));
    if ["cls_token", "position_embeddings", "register_tokens"].contains(&path) {
        while shape.len() < 3 {
            shape.insert(0, 1);
        }
    }
    match shape.strip_suffix(&[1, 1]) {
        Some(matrix) if projection => matrix.to_vec(),
        _ => shape,
    }
}
