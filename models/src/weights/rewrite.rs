//! A weight file written again with changes added to some of its tensors, in its own types. One tensor is in
//! memory at a time.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, View};
use seqlora_core::check::greatest;
use seqlora_core::lora::WeightPatch;
use seqlora_files::sort_metadata_of;

use super::fused::parts;
use super::stored::float;
use super::{Header, KeyLayout, ModelError};

/// Changes of a component's weights, by our module path.
pub(crate) type Changes<'a> = BTreeMap<String, &'a WeightPatch>;

/// A tensor of the new file.
#[derive(Debug, Clone)]
pub(crate) struct Rewritten<'a> {
    /// The file that it is in.
    header: Rc<Header>,
    /// Its key there.
    from: String,
    /// Its key in the new file.
    key: String,
    /// Its shape in the new file.
    shape: Vec<usize>,
    /// The place of its first number that a change is added to, with the change.
    changes: Vec<(usize, &'a WeightPatch)>,
}

/// What changed in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rewriting {
    /// The changes that were added.
    pub(crate) changes: usize,
    /// The largest relative error of one, ‖W' − W − ΔW‖ / ‖ΔW‖, as it is read again; NaN if one is.
    pub(crate) error: f64,
}

impl Rewriting {
    /// What changed in all of these.
    pub(crate) fn of_all(parts: &[Self]) -> Self {
        Self {
            changes: parts.iter().map(|part| part.changes).sum(),
            error: greatest(parts.iter().map(|part| part.error)),
        }
    }
}

impl<'a> Rewritten<'a> {
    /// A tensor of a file, with the changes of any of its components.
    ///
    /// # Errors
    /// If a change has another size than the weight.
    pub(crate) fn new(
        header: &Rc<Header>,
        from: &str,
        components: &[(&KeyLayout, &Changes<'a>)],
    ) -> Result<Self, ModelError> {
        let shape = header.tensors()[from].shape.clone();
        let count = shape.iter().product::<usize>();
        let mut changes = Vec::new();
        for (name, slice) in parts(from) {
            let change = components.iter().find_map(|(layout, changes)| {
                layout.ours(&name).and_then(|path| changes.get(&path).copied())
            });
            let Some(change) = change else { continue };
            let (index, slices) = slice.map_or((0, 1), |slice| (slice.index, slice.count));
            if change.numbers() * slices != count {
                let (numbers, path) = (change.numbers(), header.path());
                let problem = format!("`{name}` has {count} numbers, its change {numbers}");
                return Err(ModelError::Weights { path: path.into(), problems: vec![problem] });
            }
            changes.push((index * change.numbers(), change));
        }
        let (header, from) = (Rc::clone(header), from.to_string());
        Ok(Self { header, key: from.clone(), from, shape, changes })
    }

    /// The same under another key, in a shape of as many numbers.
    pub(crate) fn renamed(self, key: String, shape: Vec<usize>) -> Self {
        Self { key, shape, ..self }
    }

    /// Its numbers before the changes.
    fn numbers(&self) -> Result<Vec<f32>, ModelError> {
        let info = &self.header.tensors()[&self.from];
        numbers(&self.header, &self.from, self.header.bytes(info)?)
    }

    fn bytes(&self) -> Result<Vec<u8>, ModelError> {
        if self.changes.is_empty() {
            return Ok(self.header.bytes(&self.header.tensors()[&self.from])?);
        }
        let mut numbers = self.numbers()?;
        for (start, change) in &self.changes {
            let changed = numbers[*start..].iter_mut().zip(change.delta());
            changed.for_each(|(number, change)| *number += change);
        }
        let dtype = float(self.dtype()).expect("its numbers were read");
        let data = TensorData::from(&numbers[..]).convert_dtype(dtype);
        match data.iter::<f32>().all(f32::is_finite) {
            true => Ok(data.as_bytes().to_vec()),
            false => {
                let problem = format!("`{}` gets a number that its type cannot hold", self.from);
                let path = self.header.path().into();
                Err(ModelError::Weights { path, problems: vec![problem] })
            }
        }
    }

    /// The largest relative error of a change in the new file.
    fn error(&self, new: &Header) -> Result<f64, ModelError> {
        let bytes = new.bytes(&new.tensors()[&self.key])?;
        let (before, after) = (self.numbers()?, numbers(new, &self.key, bytes)?);
        let error = |(start, change): &(usize, &WeightPatch)| {
            let (mut lost, mut all) = (0.0, 0.0);
            let pairs = after[*start..].iter().zip(&before[*start..]).zip(change.delta());
            for ((after, before), change) in pairs {
                let change = f64::from(change);
                lost += (f64::from(*after) - f64::from(*before) - change).powi(2);
                all += change * change;
            }
            if all > 0.0 { (lost / all).sqrt() } else { lost.sqrt() }
        };
        Ok(greatest(self.changes.iter().map(error)))
    }
}

/// The numbers of a tensor in f32.
fn numbers(header: &Header, key: &str, bytes: Vec<u8>) -> Result<Vec<f32>, ModelError> {
    let info = &header.tensors()[key];
    let Some(dtype) = float(info.dtype) else {
        let problem = format!("`{key}` holds {:?} numbers, to which nothing is added", info.dtype);
        return Err(ModelError::Weights { path: header.path().into(), problems: vec![problem] });
    };
    let count = info.shape.iter().product::<usize>();
    let data = TensorData::from_bytes_vec(bytes, vec![count], dtype).convert_dtype(DType::F32);
    Ok(data.into_vec().expect("they were converted"))
}

/// Writes a file of these tensors, and reads the changed ones again.
///
/// # Errors
/// If a file cannot be read or written, or a changed tensor holds no floating-point numbers or gets one that its
/// type cannot hold.
pub(crate) fn rewrite(
    tensors: &[Rewritten<'_>],
    metadata: &BTreeMap<String, String>,
    file: &Path,
) -> Result<Rewriting, ModelError> {
    let failure = RefCell::new(None);
    let views = tensors.iter().map(|tensor| (&tensor.key, Lazy { tensor, failure: &failure }));
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let damaged = |error: safetensors::SafeTensorError| ModelError::Damaged {
        path: file.into(),
        reason: error.to_string(),
    };
    safetensors::serialize_to_file(views, Some(metadata.collect()), file).map_err(damaged)?;
    // Zeros are in the place of what could not be read.
    if let Some(error) = failure.take() {
        return Err(error);
    }
    sort_metadata_of(file)?;
    let new = Header::read(file)?;
    let changed = tensors.iter().filter(|tensor| !tensor.changes.is_empty());
    let parts = changed
        .map(|tensor| Ok(Rewriting { changes: tensor.changes.len(), error: tensor.error(&new)? }));
    Ok(Rewriting::of_all(&parts.collect::<Result<Vec<_>, ModelError>>()?))
}

/// A tensor whose numbers are read when they are written.
struct Lazy<'a> {
    tensor: &'a Rewritten<'a>,
    /// The first error of any of them: a view cannot fail.
    failure: &'a RefCell<Option<ModelError>>,
}

impl Rewritten<'_> {
    fn dtype(&self) -> Dtype {
        self.header.tensors()[&self.from].dtype
    }
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.tensor.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.tensor.bytes().unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            vec![0; self.data_len()]
        });
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        let (start, end) = self.tensor.header.tensors()[&self.tensor.from].data_offsets;
        end - start
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A file with one tensor.
    fn stored(file: &Path, numbers: [f32; 2]) -> Header {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2], &bytes).unwrap();
        safetensors::serialize_to_file([("a", view)], None, file).unwrap();
        Header::read(file).unwrap()
    }

    #[test]
    fn no_nan_vanishes_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let change = WeightPatch::Dense { outputs: 1, inputs: 2, values: vec![0.5, 0.5] };
        let tensor = Rewritten {
            header: Rc::new(stored(&folder.path().join("old"), [1.0, 2.0])),
            from: "a".into(),
            key: "a".into(),
            shape: vec![1, 2],
            changes: vec![(0, &change)],
        };
        let new = folder.path().join("new");
        let error = |numbers| tensor.error(&stored(&new, numbers)).unwrap();
        assert_eq!(error([1.5, 2.5]), 0.0);
        assert!(error([f32::NAN, 2.5]).is_nan());

        let of_all = |errors: [f64; 2]| {
            Rewriting::of_all(&errors.map(|error| Rewriting { changes: 1, error }))
        };
        assert_eq!(of_all([0.25, 0.5]), Rewriting { changes: 2, error: 0.5 });
        assert!(of_all([f64::NAN, 0.5]).error.is_nan());
    }
}
