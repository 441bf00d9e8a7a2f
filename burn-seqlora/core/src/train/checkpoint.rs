//! Saving a training state and going on from it, bit for bit.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde_json::{Value, json};

use seqlora_files::sha256;

use super::checkpoint_record::{CheckpointRecord, FILES, RECORD, START_ANEW};
use super::checkpoint_tensors::{read, to_tensors};
use crate::bank::{Bank, ConceptId, NamedTensors, to_safetensors};
use crate::check::difference;
use crate::error::{Error, Result};
use crate::lora::{AdapterSet, Factors, Site};
use crate::methods::TrainState;
use crate::objective::ConceptParameters;
use crate::optim::{AdamW, SecondMoment};
use crate::settings::TrainConfig;

/// Settings on which the result does not depend, or only its rounding: a resumed run may change them, also because it ran out
/// of memory.
const WITHOUT_EFFECT: [&str; 5] =
    ["save_every", "strict_capacity", "memory", "micro_batch", "inner_activations"];

impl CheckpointRecord {
    /// # Errors
    /// If settings, images or earlier concepts are not those that the run was started with.
    pub fn check(
        &self,
        id: &str,
        config: &TrainConfig,
        digest: &str,
        earlier: &[String],
    ) -> Result<()> {
        check_unchanged(id, (&json!(self.config), &self.data_digest), (config, digest))?;
        if self.earlier != earlier {
            let difference = format!(
                "it was started after [{}] and would now come after [{}]",
                self.earlier.join(", "),
                earlier.join(", ")
            );
            return Err(Error::ResumeMismatch { id: id.into(), difference });
        }
        Ok(())
    }
}

/// Compares settings and data digest of a concept, begun or learnt, with those of a resumed run.
///
/// # Errors
/// If they differ in what the result depends on; names the setting.
pub fn check_unchanged(id: &str, before: (&Value, &str), now: (&TrainConfig, &str)) -> Result<()> {
    let images = || (before.1 != now.1).then(|| "the images or captions have changed".into());
    let [settings, wanted] = [complete(before.0), json!(now.0)].map(with_effect);
    match difference(&settings, &wanted).or_else(images) {
        Some(difference) => Err(Error::ResumeMismatch { id: id.into(), difference }),
        None => Ok(()),
    }
}

/// Settings that an older version did not have yet count as their default, which is what it did.
fn complete(settings: &Value) -> Value {
    let mut complete = json!(TrainConfig::default());
    if let (Value::Object(complete), Value::Object(settings)) = (&mut complete, settings) {
        complete.extend(settings.clone());
    }
    complete
}

fn with_effect(mut settings: Value) -> Value {
    if let Value::Object(fields) = &mut settings {
        fields.retain(|name, _| !WITHOUT_EFFECT.contains(&name.as_str()));
    }
    settings
}

/// Checks that the bank on disk is still the one that a run adds to.
///
/// # Errors
/// If somebody removed or changed it meanwhile.
pub fn check_bank(bank: &Bank) -> Result<()> {
    let same = |now: Bank| now.concepts() == bank.concepts() && now.base().is_like(bank.base());
    match Bank::open(bank.path()).is_ok_and(same) {
        true => Ok(()),
        false => Err(Error::BankChanged { path: bank.path().into() }),
    }
}

/// Writes the state of a concept in training.
///
/// # Errors
/// If the disk is full; the checkpoint before is then still there. Or if the bank has changed.
pub fn save<B: Backend>(
    bank: &Bank,
    id: &ConceptId,
    sites: &[Site],
    state: &TrainState<B>,
    context: (&TrainConfig, &str, u64),
) -> Result<()> {
    check_bank(bank)?;
    let folder = bank.checkpoint_inside(id);
    bank.folder().create_folder(&folder)?;
    let (config, data_digest, metrics_bytes) = context;
    // Two files take turns, so that state.json never refers to one that is being replaced.
    let turn = CheckpointRecord::find(bank, id)?.is_some_and(|r| r.tensors == FILES[0]);
    let file = folder.join(FILES[usize::from(turn)]);
    let tensors = to_safetensors(&file, &to_tensors(sites, state))?;
    let mut record = CheckpointRecord {
        checksum: String::new(),
        tensors: FILES[usize::from(turn)].into(),
        step: state.step,
        inner_count: state.inner.second.count,
        outer_count: state.outer.second.count,
        embeddings_count: state.embeddings.second.count,
        embeddings_frozen: state.embeddings_frozen,
        initial_loss: state.initial_loss,
        metrics_bytes,
        config: config.clone(),
        data_digest: data_digest.into(),
        earlier: bank.earlier(),
    };
    record.checksum = record.checksum_with(&sha256(&tensors));
    bank.folder().write(&file, &tensors)?;
    Ok(bank.folder().write_json(folder.join(RECORD), &record)?)
}

/// Reads the state that [`save`] wrote. The run has `ranks` at its sites, and token embeddings of shape
/// `embeddings`.
///
/// # Errors
/// If a file is damaged, or its tensors are not those that the run must have.
pub fn load<B: Backend>(
    bank: &Bank,
    id: &ConceptId,
    (sites, ranks, embeddings): (&[Site], &[usize], [usize; 2]),
    record: &CheckpointRecord,
    device: &B::Device,
) -> Result<TrainState<B>> {
    let mut tensors = tensors_of(bank, id, record, (sites, ranks, embeddings))?;
    let mut factors = |kind: &str| factors::<B>(&mut tensors, sites, kind, device);
    let [up, down, inner_first, inner_second, outer_first, outer_second] =
        ["up", "down", "inner_first", "inner_second", "outer_first", "outer_second"]
            .map(&mut factors);
    let [embeddings, first, second] = ["embeddings", "embeddings_first", "embeddings_second"]
        .map(|name| tensor::<B>(&mut tensors, name, device));
    let moment = |mean, count| SecondMoment { mean, count };
    let single = |matrix| Factors::new(vec![matrix]);
    Ok(TrainState {
        step: record.step,
        parameters: ConceptParameters { adapters: AdapterSet { up, down }, embeddings },
        inner: AdamW { first: inner_first, second: moment(inner_second, record.inner_count) },
        outer: AdamW { first: outer_first, second: moment(outer_second, record.outer_count) },
        embeddings: AdamW {
            first: single(first),
            second: moment(single(second), record.embeddings_count),
        },
        embeddings_frozen: record.embeddings_frozen,
        freezing: None,
        initial_loss: record.initial_loss,
    })
}

/// The minibatches that a concept in training has done, after its checkpoint has been checked as for going
/// on from it; `None` if there is none. No model is needed.
///
/// # Errors
/// If a file is damaged, or its tensors are not those that the run must have.
pub fn checkpointed_steps(
    bank: &Bank,
    id: &ConceptId,
    run: (&[Site], &[usize], [usize; 2]),
) -> Result<Option<usize>> {
    let Some(record) = CheckpointRecord::find(bank, id)? else { return Ok(None) };
    tensors_of(bank, id, &record, run)?;
    Ok(Some(record.step))
}

fn tensors_of(
    bank: &Bank,
    id: &ConceptId,
    record: &CheckpointRecord,
    run: (&[Site], &[usize], [usize; 2]),
) -> Result<NamedTensors> {
    let file = bank.checkpoint_folder(id).join(&record.tensors);
    read(&file, record, run).map_err(|error| error.with_advice(START_ANEW))
}

fn factors<B: Backend>(
    tensors: &mut NamedTensors,
    sites: &[Site],
    kind: &str,
    device: &B::Device,
) -> Factors<B> {
    let of_site = |site: &Site| tensor(tensors, &format!("{}.{kind}", site.name), device);
    Factors::new(sites.iter().map(of_site).collect())
}

fn tensor<B: Backend>(
    tensors: &mut NamedTensors,
    name: &str,
    device: &B::Device,
) -> Option<Tensor<B, 2>> {
    let (shape, values) = tensors.remove(name)?;
    Some(Tensor::from_data(TensorData::new(values, shape), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FrozenBasis;

    /// A version without some setting did what its default does.
    #[test]
    fn settings_of_an_older_version_count_as_their_default() {
        let mut older = json!(TrainConfig { rank: 2, ..TrainConfig::default() });
        older.as_object_mut().unwrap().remove("frozen_basis").expect("a newer setting");
        let check =
            |config: &TrainConfig| check_unchanged("cat", (&older, "digest"), (config, "digest"));
        let same = TrainConfig { rank: 2, ..TrainConfig::default() };
        check(&same).unwrap();
        let other = TrainConfig { frozen_basis: FrozenBasis::Gaussian, ..same.clone() };
        assert!(check(&other).unwrap_err().to_string().contains("`frozen_basis`"));
        let other = TrainConfig { rank: 3, ..same };
        assert!(check(&other).unwrap_err().to_string().contains("`rank` was 2, now it is 3"));
    }
}
