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

/// The files that tensors are written to by turns.
const FILES: [&str; 2] = ["state-0.safetensors", "state-1.safetensors"];

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
    let next = read(folder)?.is_some_and(|record| record.tensors == FILES[0]);
    let tensors = FILES[usize::from(next)].to_string();
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
    Ok(StateRecord::read(&folder.join(RECORD))?.config)
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
    if file.exists() { Ok(Some(StateRecord::read(&file)?)) } else { Ok(None) }
}

impl StateRecord {
    /// Reads a record, and checks what is joined to a path or counted up to.
    fn read(file: &Path) -> Result<Self> {
        let record: Self = read_json(file)?;
        let (step, steps) = (record.step, record.config.steps);
        let reason = if !FILES.contains(&record.tensors.as_str()) {
            format!("`tensors` is none of {}", FILES.join(", "))
        } else if step > steps {
            format!("`step` is {step}, and the training has {steps}")
        } else {
            return Ok(record);
        };
        Err(Error::damaged(file, format!("{reason}; delete its folder to start the training anew")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_that_cannot_be_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = TaskConfig { steps: 10, ..TaskConfig::default() };
        let read_with = |tensors: &str, step: usize| {
            let record = json!({ "tensors": tensors, "step": step, "config": config });
            write_json(&folder.path().join(RECORD), &record).unwrap();
            read(folder.path())
        };
        assert_eq!(read_with(FILES[1], 10).unwrap().unwrap().step, 10);
        for (tensors, step, reason) in [
            ("../state-0.safetensors", 10, "`tensors` is none of state-0.safetensors"),
            ("/state-0.safetensors", 10, "`tensors`"),
            (FILES[0], 11, "`step` is 11, and the training has 10"),
            (FILES[0], usize::MAX, "`step`"),
        ] {
            let error = read_with(tensors, step).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(RECORD), "{error}");
            assert!(settings(folder.path()).is_err());
        }
    }
}
