//! Saving a training and going on from it.

use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_core::bank::{NamedTensors, read_tensors, write_tensors};
use seqlora_core::check::difference;
use seqlora_core::error::{Error, Result};
use seqlora_files::{read_json, write_json};
use serde::{Deserialize, Serialize};

use super::config::StageConfig;
use super::optimizer::{Optimizer, Parameter};

/// Where training stands. It is written last: it makes the state count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRecord {
    tensors: String,
    step: usize,
    config: StageConfig,
}

const RECORD: &str = "state.json";

/// The optimiser's vectors, each of all parameters behind each other, by their names in the file.
type Vector<B> = for<'a> fn(&'a mut Parameter<B>) -> &'a mut Tensor<B, 1>;

fn vectors<B: Backend>() -> [(&'static str, Vector<B>); 4] {
    [
        ("parameters", |parameter| &mut parameter.value),
        ("first", |parameter| &mut parameter.first),
        ("second", |parameter| &mut parameter.second),
        ("average", |parameter| &mut parameter.average),
    ]
}

/// Writes the optimiser's vectors to `folder`.
///
/// # Errors
/// If the disk is full; the state before is then still there.
pub fn save<B: Backend>(
    folder: &Path,
    optimizer: &Optimizer<B>,
    config: &StageConfig,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    // Two files take turns, so that the record never refers to one that is being replaced.
    let turn = read(folder)?.is_some_and(|record| record.tensors == "state-0.safetensors");
    let tensors = format!("state-{}.safetensors", turn as u8);
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

/// The settings that a part's training ended with.
///
/// # Errors
/// If nothing has been saved.
pub fn settings(folder: &Path) -> Result<StageConfig> {
    Ok(read_json::<StateRecord>(&folder.join(RECORD))?.config)
}

/// Puts a saved state, if there is one, into an optimiser that has not begun.
///
/// The length of training and what is written on the way may be others than before; the learning
/// rate's curve then bends where training goes on.
///
/// # Errors
/// If it is damaged, or was made with other settings of this part or for another network. What
/// parts share, such as shares of scenes and weights of losses, may have changed.
pub fn restore<B: Backend>(
    folder: &Path,
    optimizer: &mut Optimizer<B>,
    config: &StageConfig,
) -> Result<()> {
    let Some(record) = read(folder)? else { return Ok(()) };
    let StageConfig { steps, save_every, preview_every, .. } = *config;
    let before = StageConfig { steps, save_every, preview_every, ..record.config.clone() };
    if let Some(difference) = difference(&before, config) {
        let text = format!(
            "cannot go on with {}: it was begun with other settings, {difference}; use those, or \
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
            Error::damaged(&file, format!("`{name}` is missing or not of {count} parameters"))
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
