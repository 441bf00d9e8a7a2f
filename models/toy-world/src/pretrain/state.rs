//! Saving the state of a training, and resuming from it.

use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_core::bank::{NamedTensors, read_tensors, write_tensors};
use seqlora_core::check::difference;
use seqlora_core::error::{Error, Result};
use seqlora_files::{read_json, write_json};
use serde::{Deserialize, Serialize};

use super::config::TaskConfig;
use super::optimizer::{Optimizer, Parameter};

/// The record of a saved state. It is written last, so that it always refers to complete tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRecord {
    tensors: String,
    step: usize,
    config: TaskConfig,
}

const RECORD: &str = "state.json";

/// Access to one of the vectors of a parameter.
type Vector<B> = for<'a> fn(&'a mut Parameter<B>) -> &'a mut Tensor<B, 1>;

/// The vectors of the optimiser by their names in the file, where the vectors of all parameters are
/// concatenated.
fn vectors<B: Backend>() -> [(&'static str, Vector<B>); 4] {
    [
        ("parameters", |parameter| &mut parameter.value),
        ("first_moment", |parameter| &mut parameter.first_moment),
        ("second_moment", |parameter| &mut parameter.second_moment),
        ("ema", |parameter| &mut parameter.ema),
    ]
}

/// Saves the state of an optimiser in `folder`.
///
/// # Errors
/// If a file cannot be written; the previous state is then still there.
pub fn save<B: Backend>(
    folder: &Path,
    optimizer: &Optimizer<B>,
    config: &TaskConfig,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    // Two files alternate, so that the record never refers to a file that is being replaced.
    let next = read(folder)?.is_some_and(|record| record.tensors == "state-0.safetensors");
    let tensors = format!("state-{}.safetensors", next as u8);
    let mut named = NamedTensors::new();
    for (name, vector) in vectors::<B>() {
        let all = optimizer.parameters.iter().flat_map(|parameter| {
            let values = vector(&mut parameter.clone()).to_data();
            values.iter::<f32>().collect::<Vec<_>>()
        });
        let all: Vec<f32> = all.collect();
        named.insert(name.to_string(), ([1, all.len()], all));
    }
    write_tensors(&folder.join(&tensors), &named)?;
    let record = StateRecord { tensors, step: optimizer.step, config: config.clone() };
    Ok(write_json(&folder.join(RECORD), &record)?)
}

/// The settings of the last saved state.
///
/// # Errors
/// If there is no saved state, or its record is damaged.
pub fn settings(folder: &Path) -> Result<TaskConfig> {
    Ok(read_json::<StateRecord>(&folder.join(RECORD))?.config)
}

/// Restores a saved state, if there is one, into an optimiser before its first step.
///
/// The number of steps and the intervals of saving and previews may differ from those of the state.
/// With another number of steps, the learning rate jumps to its new schedule where training
/// resumes.
///
/// # Errors
/// If the state is damaged, belongs to another network, or was saved with other settings of this
/// task. Settings that tasks share, such as probabilities of scenes and weights of losses, are not
/// compared.
pub fn restore<B: Backend>(
    folder: &Path,
    optimizer: &mut Optimizer<B>,
    config: &TaskConfig,
) -> Result<()> {
    let Some(record) = read(folder)? else { return Ok(()) };
    let TaskConfig { steps, save_every, preview_every, .. } = *config;
    let before = TaskConfig { steps, save_every, preview_every, ..record.config.clone() };
    if let Some(difference) = difference(&before, config) {
        let text = format!(
            "cannot resume {}: it was started with other settings, {difference}; use those, or \
             delete that folder",
            folder.display()
        );
        return Err(Error::Invalid(text));
    }
    let file = folder.join(&record.tensors);
    let mut tensors = read_tensors(&file)?;
    for (name, vector) in vectors::<B>() {
        let vectors = optimizer.parameters.iter_mut().map(vector);
        let count = vectors.map(|vector| vector.dims()[0]).sum::<usize>();
        let values = tensors.remove(name).filter(|(_, values)| values.len() == count);
        let (_, values) = values.ok_or_else(|| {
            Error::damaged(&file, format!("`{name}` is missing or does not have {count} elements"))
        })?;
        let mut values = values.into_iter();
        for vector in optimizer.parameters.iter_mut().map(vector) {
            let shape = vector.dims();
            let own: Vec<f32> = values.by_ref().take(shape[0]).collect();
            *vector = Tensor::from_data(TensorData::new(own, shape), &vector.device());
        }
    }
    optimizer.step = record.step;
    Ok(())
}

fn read(folder: &Path) -> Result<Option<StateRecord>> {
    let file = folder.join(RECORD);
    if file.exists() { Ok(Some(read_json(&file)?)) } else { Ok(None) }
}
