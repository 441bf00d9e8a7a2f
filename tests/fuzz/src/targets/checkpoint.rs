//! The training state of a concept.

use std::path::Path;

use seqlora_core::bank::{Bank, ConceptId, NamedTensors, write_tensors};
use seqlora_core::settings::TrainConfig;
use seqlora_core::train::checkpointed_steps;
use seqlora_files::sha256;

use super::bank::{bank, sites};
use crate::input::File;
use crate::target::{Target, holds};

/// `state.json` and its tensors.
pub const CHECKPOINT: Target = Target { name: "checkpoint", files, read };

/// The ranks at the sites, and the shape of the token embeddings.
const RANKS: [usize; 3] = [1, 2, 1];
const EMBEDDINGS: [usize; 2] = [4, 3];

fn files() -> Vec<File> {
    let tensors = tensors();
    let config = serde_json::to_string(&TrainConfig::default()).expect("settings are JSON");
    let state = |checksum: &str| {
        format!(
            r#"{{"checksum":"{checksum}","tensors":"state-0.safetensors","step":2,"inner_count":2,"#
        ) + r#""outer_count":2,"embeddings_count":2,"embeddings_frozen":false,"initial_loss":1.5,"#
            + &format!(r#""metrics_bytes":0,"config":{config},"data_digest":"0123","earlier":[]}}"#)
    };
    let checksum = sha256((state("") + &sha256(&tensors)).as_bytes());
    let place = |name: &str| format!("concepts/cow/checkpoint/{name}");
    let mut files = vec![
        (place("state.json"), state(&checksum).into_bytes()),
        (place("state-0.safetensors"), tensors),
    ];
    files.extend(bank("bank.json"));
    files
}

fn tensors() -> Vec<u8> {
    let mut tensors = NamedTensors::new();
    let mut add = |name: String, [rows, columns]: [usize; 2]| {
        tensors.insert(name, ([rows, columns], vec![0.5; rows * columns]));
    };
    for (site, rank) in sites().iter().zip(RANKS) {
        for kind in ["up", "inner_first", "inner_second"] {
            add(format!("{}.{kind}", site.name), [site.outputs, rank]);
        }
        for kind in ["down", "outer_first", "outer_second"] {
            add(format!("{}.{kind}", site.name), [site.inputs, rank]);
        }
    }
    for kind in ["embeddings", "embeddings_first", "embeddings_second"] {
        add(kind.into(), EMBEDDINGS);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.safetensors");
    write_tensors(&file, &tensors).expect("a small file");
    std::fs::read(file).expect("it was written")
}

fn read(folder: &Path) -> bool {
    let Ok(bank) = Bank::open(folder) else { return false };
    let cow = ConceptId::new("cow").expect("an id");
    let steps = checkpointed_steps(&bank, &cow, (&sites(), &RANKS, EMBEDDINGS));
    if let Ok(Some(steps)) = steps {
        holds(steps < 1_000_000_000, "steps can be counted");
    }
    matches!(steps, Ok(Some(_)))
}
