//! Saving a training state and going on from it, bit for bit.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use seqlora_files::{FileError, read_json};

use crate::bank::{Bank, ConceptId, NamedTensors, read_tensors, to_safetensors};
use crate::check::difference;
use crate::error::{Error, Result};
use crate::lora::{AdapterSet, Factors, Site};
use crate::methods::TrainState;
use crate::objective::ConceptParameters;
use crate::optim::{AdamW, SecondMoment};
use crate::read;
use crate::settings::TrainConfig;

/// What belongs to a state besides its tensors. It is written last: it makes the checkpoint count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecord {
    /// The file with the tensors.
    tensors: String,
    /// Minibatches done.
    pub step: usize,
    inner_count: usize,
    outer_count: usize,
    embeddings_count: usize,
    embeddings_frozen: bool,
    initial_loss: f64,
    /// Length of metrics.jsonl at this step, in bytes.
    pub metrics_bytes: u64,
    /// The settings, which a resumed run has to share.
    pub config: TrainConfig,
    /// The digest of the images, which a resumed run has to share.
    pub data_digest: String,
    /// The concepts that came before, in order.
    pub earlier: Vec<String>,
}

impl CheckpointRecord {
    /// The record of a concept in training, if it has one.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn find(bank: &Bank, id: &ConceptId) -> Result<Option<Self>> {
        let file = bank.folder().check(Bank::checkpoint_inside(id).join("state.json"))?;
        if file.exists() { Ok(Some(read_json(&file)?)) } else { Ok(None) }
    }

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
/// If they differ; names the setting.
pub fn check_unchanged(id: &str, before: (&Value, &str), now: (&TrainConfig, &str)) -> Result<()> {
    let images = || (before.1 != now.1).then(|| "the images or captions have changed".into());
    match difference(before.0, &json!(now.0)).or_else(images) {
        Some(difference) => Err(Error::ResumeMismatch { id: id.into(), difference }),
        None => Ok(()),
    }
}

/// Writes the state of a concept in training.
///
/// # Errors
/// If the disk is full; the checkpoint before is then still there.
pub fn save<B: Backend>(
    bank: &Bank,
    id: &ConceptId,
    sites: &[Site],
    state: &TrainState<B>,
    context: (&TrainConfig, &str, u64),
) -> Result<()> {
    let folder = Bank::checkpoint_inside(id);
    bank.folder().create_folder(&folder)?;
    let (config, data_digest, metrics_bytes) = context;
    // Two files take turns, so that state.json never refers to one that is being replaced.
    let turn =
        CheckpointRecord::find(bank, id)?.is_some_and(|r| r.tensors == "state-0.safetensors");
    let record = CheckpointRecord {
        tensors: format!("state-{}.safetensors", turn as u8),
        step: state.step,
        inner_count: state.inner.second.count,
        outer_count: state.outer.second.count,
        embeddings_count: state.embeddings.second.count,
        embeddings_frozen: state.embeddings_frozen,
        initial_loss: state.initial_loss,
        metrics_bytes,
        config: config.clone(),
        data_digest: data_digest.into(),
        earlier: bank.concepts().iter().map(String::from).collect(),
    };
    let file = folder.join(&record.tensors);
    let bytes = to_safetensors(&file, &to_tensors(sites, state))?;
    bank.folder().write(file, &bytes)?;
    Ok(bank.folder().write_json(folder.join("state.json"), &record)?)
}

/// Reads the state that [`save`] wrote.
///
/// # Errors
/// If a file is damaged or does not fit the model.
pub fn load<B: Backend>(
    bank: &Bank,
    id: &ConceptId,
    sites: &[Site],
    record: &CheckpointRecord,
    device: &B::Device,
) -> Result<TrainState<B>> {
    let file = bank.checkpoint_folder(id).join(&record.tensors);
    let start_anew = "delete the checkpoint folder to start the concept anew";
    let mut tensors = read_tensors(&file).map_err(|error| match error {
        Error::File(FileError::Damaged { path, reason }) => {
            Error::damaged(path, format!("{reason}; {start_anew}"))
        }
        other => other,
    })?;
    let mut take = |name: String| {
        let (shape, values) = tensors.remove(&name)?;
        Some(Tensor::<B, 2>::from_data(TensorData::new(values, shape), device))
    };
    let mut factors = |kind: &str| {
        Factors::new(sites.iter().map(|site| take(format!("{}.{kind}", site.name))).collect())
    };
    let [up, down, inner_first, inner_second, outer_first, outer_second] =
        ["up", "down", "inner_first", "inner_second", "outer_first", "outer_second"]
            .map(&mut factors);
    let [embeddings, first, second] =
        ["embeddings", "embeddings_first", "embeddings_second"].map(|name| take(name.into()));
    let missing = [&down, &inner_first, &inner_second, &outer_first, &outer_second]
        .iter()
        .any(|f| f.iter().count() != up.iter().count());
    if missing || embeddings.is_none() || first.is_none() || second.is_none() {
        return Err(Error::damaged(file, format!("tensors are missing; {start_anew}")));
    }
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

fn to_tensors<B: Backend>(sites: &[Site], state: &TrainState<B>) -> NamedTensors {
    let adapters = &state.parameters.adapters;
    let kinds = [
        ("up", &adapters.up),
        ("down", &adapters.down),
        ("inner_first", &state.inner.first),
        ("inner_second", &state.inner.second.mean),
        ("outer_first", &state.outer.first),
        ("outer_second", &state.outer.second.mean),
    ];
    let of_sites = kinds.into_iter().flat_map(|(kind, factors)| {
        factors.iter().map(move |(site, t)| (format!("{}.{kind}", sites[site].name), t))
    });
    let embeddings = [
        ("embeddings", state.parameters.embeddings.clone()),
        ("embeddings_first", state.embeddings.first.get(0)),
        ("embeddings_second", state.embeddings.second.mean.get(0)),
    ];
    let of_embeddings = embeddings.into_iter().filter_map(|(name, t)| Some((name.to_string(), t?)));
    let named = of_sites.chain(of_embeddings);
    named.map(|(name, t)| (name, (t.dims(), read::data(t).iter::<f32>().collect()))).collect()
}
