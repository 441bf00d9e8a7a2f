//! Saving a training and going on from it.

use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_seqlora::bank::{NamedTensors, read_json, read_tensors, write_json, write_tensors};
use burn_seqlora::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::config::StageConfig;
use super::optimizer::Optimizer;

/// Where training stands. It is written last: it makes the state count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRecord {
    tensors: String,
    step: usize,
    config: StageConfig,
}

const RECORD: &str = "state.json";

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
    let vectors = [
        ("parameters", &optimizer.parameters),
        ("first", &optimizer.first),
        ("second", &optimizer.second),
        ("average", &optimizer.average),
    ];
    let named: NamedTensors = vectors
        .into_iter()
        .map(|(name, t)| (name.to_string(), ([1, t.dims()[0]], t.to_data().iter().collect())))
        .collect();
    write_tensors(&folder.join(&tensors), &named)?;
    let record = StateRecord { tensors, step: optimizer.step, config: config.clone() };
    write_json(&folder.join(RECORD), &record)
}

/// Puts a saved state, if there is one, into an optimiser that has not begun.
///
/// The length of training and what is written on the way may be others than before; the learning
/// rate's curve then bends where training goes on.
///
/// # Errors
/// If it is damaged, or was made with other settings or for another network.
pub fn restore<B: Backend>(
    folder: &Path,
    optimizer: &mut Optimizer<B>,
    config: &StageConfig,
) -> Result<()> {
    let Some(record) = read(folder)? else { return Ok(()) };
    let StageConfig { steps, save_every, preview_every, .. } = *config;
    if *config != (StageConfig { steps, save_every, preview_every, ..record.config.clone() }) {
        let reason = "it was begun with other settings; use those (only `steps`, `save_every` and \
                      `preview_every` may change), or delete the folder";
        return Err(Error::Damaged { path: folder.join(RECORD), reason: reason.into() });
    }
    let file = folder.join(&record.tensors);
    let mut tensors = read_tensors(&file)?;
    let vectors = [
        ("parameters", &mut optimizer.parameters),
        ("first", &mut optimizer.first),
        ("second", &mut optimizer.second),
        ("average", &mut optimizer.average),
    ];
    for (name, vector) in vectors {
        let count = vector.dims()[0];
        let values = tensors.remove(name).filter(|(_, values)| values.len() == count);
        let (_, values) = values.ok_or_else(|| Error::Damaged {
            path: file.clone(),
            reason: format!("`{name}` is missing or not of {count} parameters"),
        })?;
        *vector = Tensor::from_data(TensorData::new(values, [count]), &vector.device());
    }
    optimizer.step = record.step;
    Ok(())
}

fn read(folder: &Path) -> Result<Option<StateRecord>> {
    let file = folder.join(RECORD);
    if file.exists() { read_json(&file).map(Some) } else { Ok(None) }
}
