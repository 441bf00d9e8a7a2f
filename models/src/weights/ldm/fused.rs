//! OpenCLIP's query, key and value projections, which are stored in one tensor.

use std::rc::Rc;

use burn::tensor::TensorData;
use burn_store::{TensorSnapshot, TensorSnapshotError};

/// The parts of a stored tensor with their keys. `…in_proj_weight` and `…in_proj_bias` are split into
/// the thirds for query, key and value; every other tensor is one part.
pub fn parts(key: &str, snapshot: &TensorSnapshot) -> Vec<(String, TensorSnapshot)> {
    match key.rsplit_once("in_proj_") {
        Some((block, kind @ ("weight" | "bias"))) => ["q", "k", "v"]
            .into_iter()
            .enumerate()
            .map(|(number, name)| (format!("{block}{name}_proj.{kind}"), third(snapshot, number)))
            .collect(),
        _ => vec![(key.to_string(), snapshot.clone())],
    }
}

/// One third of a tensor, split along its first dimension.
fn third(snapshot: &TensorSnapshot, number: usize) -> TensorSnapshot {
    let read = snapshot.clone_data_fn();
    let mut shape = snapshot.shape.clone();
    shape[0] /= 3;
    let part = shape.clone();
    let rows = move || -> Result<TensorData, TensorSnapshotError> {
        let data = read()?;
        let bytes = data.as_bytes();
        let length = bytes.len() / 3;
        let bytes = bytes[number * length..(number + 1) * length].to_vec();
        Ok(TensorData::from_bytes_vec(bytes, part.clone(), data.dtype))
    };
    TensorSnapshot::from_closure(
        Rc::new(rows),
        snapshot.dtype,
        shape,
        Vec::new(),
        Vec::new(),
        snapshot.tensor_id.unwrap_or_default(),
    )
}
