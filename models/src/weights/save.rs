//! Writes a module's weights under the key names of diffusers and transformers.

use std::path::Path;

use burn::tensor::{DType, backend::Backend};
use burn_store::ModuleSnapshot;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use seqlora_files::write_atomic;

use super::{KeyTable, ModelError};

/// A tensor of a file: its key, its shape, and its values in row-major order.
pub(super) type TensorEntry = (String, Vec<usize>, Vec<f32>);

/// The format of the numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Four bytes per number.
    F32,
    /// Two bytes per number, rounded to the nearest.
    F16,
}

/// Writes every parameter of `module` to a safetensors file, atomically.
///
/// # Errors
/// If a parameter is not finite (in f16: larger than 65504), or the file cannot be written.
pub fn save_weights<B: Backend, M: ModuleSnapshot<B>>(
    module: &M,
    table: KeyTable,
    stored: Stored,
    file: &Path,
) -> Result<(), ModelError> {
    let entry = |snapshot: &burn_store::TensorSnapshot| {
        let key = table.theirs(&snapshot.full_path());
        let data = snapshot.to_data().map_err(|e| problem(file, &key, &format!("{e:?}")))?;
        let values = data.convert_dtype(DType::F32).iter::<f32>().collect();
        Ok((key, snapshot.shape.to_vec(), values))
    };
    let snapshots = module.collect(None, None, true);
    let entries = snapshots.iter().map(entry).collect::<Result<Vec<TensorEntry>, ModelError>>()?;
    write_entries(&entries, stored, file)
}

/// Writes tensors to a safetensors file, atomically.
pub(super) fn write_entries(
    entries: &[TensorEntry],
    stored: Stored,
    file: &Path,
) -> Result<(), ModelError> {
    let encode = |(key, shape, values): &TensorEntry| match stored.encode(values) {
        Some(bytes) => Ok((key.clone(), shape.clone(), bytes)),
        None => Err(problem(
            file,
            key,
            "holds a number that cannot be stored; if it was trained, try a lower learning rate",
        )),
    };
    let encoded = entries.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let views = encoded.iter().map(|(key, shape, bytes)| {
        let view = TensorView::new(stored.dtype(), shape.clone(), bytes);
        (key.as_str(), view.expect("bytes fit the shape"))
    });
    let bytes = safetensors::serialize(views, None)
        .map_err(|e| ModelError::Damaged { path: file.into(), reason: e.to_string() })?;
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    write_atomic(file, &bytes).map_err(|e| ModelError::io(file)(std::io::Error::other(e)))
}

fn problem(file: &Path, key: &str, reason: &str) -> ModelError {
    ModelError::Weights { path: file.into(), problems: vec![format!("`{key}` {reason}")] }
}

impl Stored {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    /// The bytes of the values; `None` if a number is not finite.
    fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        let half = |x: &f32| half::f16::from_f32(*x);
        let finite = values.iter().all(|x| match self {
            Self::F32 => x.is_finite(),
            Self::F16 => half(x).is_finite(),
        });
        finite.then(|| match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|x| half(x).to_le_bytes()).collect(),
        })
    }
}
