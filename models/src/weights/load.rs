//! Fills a module with the weights of safetensors files. Missing and unused keys are errors.

use std::rc::Rc;

use burn::tensor::{DType, Shape, TensorData, backend::Backend};
use burn_store::{
    ApplyError, IdentityAdapter, ModuleAdapter, ModuleSnapshot, ModuleStore, SafetensorsStore,
    TensorSnapshot, TensorSnapshotError,
};
use seqlora_core::precision::Precision;

use super::{KeyLayout, ModelError, WeightFiles, ldm};

/// The largest number of keys that an error message lists.
const LISTED: usize = 12;

/// Fills `module` with the weights of `files`, as f32.
///
/// # Errors
/// If a file is damaged, if a key is missing, unused or of the wrong shape, or if a weight is not
/// finite.
pub fn load_weights<B: Backend, M: ModuleSnapshot<B>>(
    module: M,
    files: &WeightFiles,
    layout: &KeyLayout,
) -> Result<M, ModelError> {
    load_weights_as(module, files, layout, Precision::F32)
}

/// Fills `module` with the weights of `files`, converted to `precision`.
///
/// # Errors
/// Those of [`load_weights`], and if a weight is outside the range of `precision`.
pub fn load_weights_as<B: Backend, M: ModuleSnapshot<B>>(
    mut module: M,
    files: &WeightFiles,
    layout: &KeyLayout,
    precision: Precision,
) -> Result<M, ModelError> {
    let mut snapshots = Vec::new();
    for file in &files.shards {
        let mut store = SafetensorsStore::from_file(file).with_from_adapter(IdentityAdapter);
        let damaged = |e: &dyn std::fmt::Display| ModelError::Damaged {
            path: file.clone(),
            reason: e.to_string(),
        };
        for (key, snapshot) in store.get_all_snapshots().map_err(|e| damaged(&e))? {
            for (key, part) in ldm::parts(key, snapshot) {
                let Some(path) = layout.ours(&key) else { continue };
                snapshots.push(at_path(&part, &path));
            }
        }
    }
    let result = module.apply(snapshots, None, Some(Box::new(Finite(precision))), true);
    let missing =
        result.missing.iter().map(|(path, _)| format!("`{}` is missing", layout.theirs(path)));
    let unused = result
        .unused
        .iter()
        .map(|path| format!("`{}` is not used by this model", layout.theirs(path)));
    let errors = result.errors.iter().map(|error| match error {
        ApplyError::ShapeMismatch { path, expected, found } => {
            format!("`{}` has shape {found:?}, expected {expected:?}", layout.theirs(path))
        }
        ApplyError::LoadError { path, message } => format!("`{}`: {message}", layout.theirs(path)),
        other => other.to_string(),
    });
    let mut problems: Vec<String> = errors.chain(missing).chain(unused).collect();
    if problems.is_empty() {
        return Ok(module);
    }
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        problems.truncate(LISTED);
        problems.push(format!("and {more} more"));
    }
    let path = if files.shards.len() == 1 { files.shards[0].clone() } else { files.folder.clone() };
    Err(ModelError::Weights { path, problems })
}

/// The shape of a parameter in our module. The projections of attention are linear layers here, but
/// 1×1 convolutions in the original VAE.
fn our_shape(path: &str, shape: &Shape) -> Shape {
    let projection = path.rsplit('.').nth(1).is_some_and(|layer| layer.starts_with("to_"));
    match shape.strip_suffix(&[1, 1]) {
        Some(matrix) if projection => matrix.to_vec().into(),
        _ => shape.clone(),
    }
}

/// The same tensor under our path, in our shape.
fn at_path(snapshot: &TensorSnapshot, path: &str) -> TensorSnapshot {
    let shape = our_shape(path, &snapshot.shape);
    let (read, to) = (snapshot.clone_data_fn(), shape.clone());
    TensorSnapshot::from_closure(
        Rc::new(move || Ok(TensorData { shape: to.clone(), ..read()? })),
        snapshot.dtype,
        shape,
        path.split('.').map(String::from).collect(),
        Vec::new(),
        snapshot.tensor_id.unwrap_or_default(),
    )
}

/// Converts every weight to a precision, and refuses numbers that are not finite.
#[derive(Debug, Clone)]
struct Finite(Precision);

impl ModuleAdapter for Finite {
    fn adapt(&self, snapshot: &TensorSnapshot) -> TensorSnapshot {
        let (read, precision) = (snapshot.clone_data_fn(), self.0);
        let convert = move || -> Result<TensorData, TensorSnapshotError> {
            let data = read()?;
            let data = if data.dtype == DType::F32 { data } else { data.convert_dtype(DType::F32) };
            let numbers = data.as_slice::<f32>();
            let numbers = numbers.map_err(|e| TensorSnapshotError::DataError(format!("{e:?}")))?;
            let failed = |at: usize, why: &str| {
                let text = format!("element {at} is {}; {why}", numbers[at]);
                Err(TensorSnapshotError::DataError(text))
            };
            if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                return failed(at, "the model in the file is broken");
            }
            match numbers.iter().position(|x| x.abs() > precision.largest()) {
                Some(at) => failed(at, "use a precision with a larger range"),
                None if precision == Precision::F32 => Ok(data),
                None => Ok(data.convert_dtype(precision.dtype().into())),
            }
        };
        TensorSnapshot::from_closure(
            Rc::new(convert),
            self.0.dtype().into(),
            snapshot.shape.clone(),
            snapshot.path_stack.clone().unwrap_or_default(),
            snapshot.container_stack.clone().unwrap_or_default(),
            snapshot.tensor_id.unwrap_or_default(),
        )
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}
