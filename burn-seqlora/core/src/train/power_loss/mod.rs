//! A loss of power at every moment while two concepts are learnt: the bank that is left opens, holds the
//! concepts that were learnt before, and the same run goes on from it to the same bytes.

mod further;
mod recorder;
mod removal;
mod states;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use seqlora_files::{GuardedFolder, LOCK};
use seqlora_kernels::Flex;
use serde_json::json;

use self::recorder::Recorder;
use self::states::{Journal, Tree, read, write};
use super::StepReport;
use super::checkpoint;
use super::checkpoint_record::CheckpointRecord;
use super::metrics::Metrics;
use crate::bank::{Bank, BaseModel, ConceptId, ConceptRecord, TrainingRecord};
use crate::error::{Error, Result};
use crate::lora::{Feasible, Part, Role, Site, finish_adapter};
use crate::methods::{PlainLora, TrainState};
use crate::rng::Seed;
use crate::settings::TrainConfig;

const CONCEPTS: [&str; 2] = ["cat", "dog"];

/// The ranks at the sites.
const RANKS: [usize; 2] = [1, 1];

/// The shape of the token embeddings.
const EMBEDDINGS: [usize; 2] = [1, 2];

/// Checkpoints are saved every two steps.
const STEPS: usize = 5;

fn sites() -> Vec<Site> {
    let (part, role) = (Part::Denoiser, Role::CrossAttention);
    let site = |name: &str| Site { name: name.into(), inputs: 3, outputs: 2, part, role };
    ["unet.a.to_k", "unet.a.to_v"].map(site).to_vec()
}

fn base() -> BaseModel {
    BaseModel {
        fingerprint: "0123".into(),
        tokenizer: None,
        prediction: None,
        name: "tiny".into(),
        cross_attention_layers: 1,
        token_width: 2,
    }
}

fn first_state(seed: &Seed) -> TrainState<Flex> {
    let embeddings = Tensor::ones(EMBEDDINGS, &Default::default());
    let (config, feasible) = (TrainConfig::default(), [Feasible::default(), Feasible::default()]);
    let method = &PlainLora;
    let mut state = TrainState::new::<Autodiff<Flex>>(
        method,
        &config,
        &sites(),
        &RANKS,
        &feasible,
        embeddings,
        seed,
    );
    state.initial_loss = 1.0;
    state
}

/// A run as training makes it, with steps that compute nothing.
fn run(folder: GuardedFolder, mut learnt: impl FnMut(usize)) -> Result<()> {
    let mut bank = Bank::open_or_create_in(folder, &base(), &sites())?;
    for (number, id) in CONCEPTS.into_iter().enumerate() {
        learnt(number);
        if !bank.contains(id) {
            learn(&mut bank, &ConceptId::new(id).unwrap(), false)?;
        }
    }
    learnt(CONCEPTS.len());
    // What reads B next completes the cache.
    bank.directions(&sites(), None).map(drop)
}

/// Learns a concept, or trains one of the bank further.
fn learn(bank: &mut Bank, id: &ConceptId, reserves: bool) -> Result<()> {
    let sites = sites();
    let occupied = bank.directions_besides(id, &sites, None)?;
    let mut state = match CheckpointRecord::find(bank, id)? {
        Some(record) => {
            let run = (&sites[..], &RANKS[..], EMBEDDINGS);
            checkpoint::load(bank, id, run, &record, &Default::default())?
        }
        None => first_state(&Seed::new(0).fork(id)),
    };
    let mut metrics = Metrics::open(bank, id)?;
    while state.step < STEPS {
        state.step += 1;
        let adapters = &mut state.parameters.adapters;
        adapters.up = adapters.up.map_elements(|x| x.add_scalar(1.0));
        let numbers = [1.0 / state.step as f64, 0.0, 0.0, 1.0];
        let [loss, hypergradient, overlap, embedding_norm] = numbers;
        let step = state.step;
        metrics.append(&StepReport { step, loss, hypergradient, overlap, embedding_norm })?;
        if step.is_multiple_of(2) {
            let context = (&TrainConfig::default(), "digest", metrics.sync()?);
            checkpoint::save(bank, id, &sites, &state, context)?;
        }
    }
    metrics.sync()?;
    let avoided = if reserves { occupied } else { vec![vec![], vec![]] };
    let feasible = Feasible::outside(&avoided);
    let adapter = finish_adapter(&state.parameters.adapters, &sites, &feasible);
    let record = ConceptRecord::new(id, "animal", [1, 1], reserves, &adapter);
    let training = TrainingRecord {
        method: PlainLora::NAME.into(),
        images: vec![],
        data_digest: "digest".into(),
        steps: STEPS,
        initial_loss: 1.0,
        final_loss: 0.2,
        settings: json!(TrainConfig::default()),
        trained_by: "this test".into(),
    };
    let embeddings = ([1, 2], vec![1.0, 2.0]);
    match bank.contains(id) {
        true => bank.replace(record, &training, &adapter, embeddings),
        false => bank.append(record, &training, &adapter, embeddings),
    }
}

/// A run in `root/bank` that waits for no disk.
fn run_in(root: &Path, learnt: impl FnMut(usize, usize)) -> (Arc<Recorder>, Result<()>) {
    let recorder = Arc::new(Recorder::new(root));
    let folder = GuardedFolder::with_storage(&root.join("bank"), recorder.clone());
    let mut learnt = learnt;
    let result = run(folder, |count| learnt(count, recorder.log().len()));
    (recorder, result)
}

fn guarded(root: &Path, recorder: &Arc<Recorder>) -> GuardedFolder {
    GuardedFolder::with_storage(&root.join("bank"), recorder.clone())
}

/// Two concepts that are orthogonal to each other; the number of operations that this took.
fn learnt(root: &Path, recorder: &Arc<Recorder>) -> usize {
    let mut bank = Bank::open_or_create_in(guarded(root, recorder), &base(), &sites()).unwrap();
    for id in CONCEPTS {
        learn(&mut bank, &ConceptId::new(id).unwrap(), true).unwrap();
    }
    recorder.log().len()
}

/// What lies in a folder after a run, but for the lock.
fn result(root: &Path) -> Tree {
    let mut tree = read(root);
    tree.remove(&Path::new("bank").join(LOCK));
    tree
}

/// Every state that a loss of power can leave after so many operations, with the least and the greatest
/// stage that may have been reached in it. At each of the moments one more is.
fn all_states(recorder: &Recorder, moments: &[usize], after: usize) -> BTreeMap<Tree, [usize; 2]> {
    let mut journal = Journal::default();
    let mut states: BTreeMap<Tree, [usize; 2]> = BTreeMap::new();
    let log = recorder.log();
    for done in 0..=log.len() {
        if done > 0 {
            journal.add(&log[done - 1]);
        }
        if done < after {
            continue;
        }
        let stage = moments.iter().filter(|moment| **moment <= done).count();
        for state in journal.states() {
            let [least, most] = states.entry(state).or_insert([stage, stage + 1]);
            *least = stage.max(*least);
            *most = (stage + 1).min(*most);
        }
    }
    states
}

#[test]
fn a_loss_of_power_leaves_the_last_good_bank_or_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut moments = Vec::new();
    let (recorder, finished) = run_in(folder.path(), |_, operations| moments.push(operations));
    finished.unwrap();
    let expected = result(folder.path());
    let states = all_states(&recorder, &moments, 0);
    println!("{} operations, {} states", recorder.log().len(), states.len());
    assert!(states.len() > 100);
    for (state, [least, most]) in states {
        let allowed = least..=most;
        let folder = tempfile::tempdir().unwrap();
        write(&state, folder.path());
        let names = state.keys().collect::<Vec<_>>();
        match Bank::open(&folder.path().join("bank")) {
            Ok(bank) => {
                let stage = 1 + bank.concepts().len();
                assert!(allowed.contains(&stage), "{stage}, not {allowed:?}, in {names:?}");
                for concept in bank.inspect().unwrap().0 {
                    assert!(concept.problems.is_empty(), "{concept:?} in {names:?}");
                }
            }
            Err(Error::NoBank { .. }) if least == 0 => {}
            Err(error) => panic!("{error} in {names:?}"),
        }
        let (_, finished) = run_in(folder.path(), |_, _| ());
        finished.unwrap_or_else(|error| panic!("{error} in {names:?}"));
        let found = result(folder.path());
        let all = expected.keys().chain(found.keys());
        let different: Vec<_> =
            all.filter(|path| found.get(*path) != expected.get(*path)).collect();
        assert!(different.is_empty(), "{different:?} differ from {names:?}");
    }
}
