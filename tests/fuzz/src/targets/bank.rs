//! Banks and adapters.

use std::path::Path;

use seqlora_core::bank::formats::{
    self, AdapterCard, AdapterFormat, Diffusers, Kohya, Native, Peft, read_textual_inversion,
    write_textual_inversion,
};
use seqlora_core::bank::{
    Bank, BaseModel, ConceptId, ConceptRecord, TrainingRecord, is_concept_id, overlaps,
};
use seqlora_core::lora::{Part, Role, Site, StoredAdapter, StoredFactors};
use serde_json::{Value, json};

use super::model::fixture;
use crate::input::File;
use crate::target::{Target, files_of, holds};

/// `bank.json`, and the folder that it describes.
pub const BANK: Target = Target { name: "bank", files: || bank("bank.json"), read: read_bank };

/// `concept.json` in a bank that has no digests of such files, which would be all that a change meets.
pub const CONCEPT: Target = Target {
    name: "concept",
    files: || {
        let mut files = bank("concepts/cat/concept.json");
        let record = files.iter_mut().find(|(name, _)| name == "bank.json").expect("it is there");
        let mut json: Value = serde_json::from_slice(&record.1).expect("JSON");
        json["digests"] = json!({});
        record.1 = json.to_string().into_bytes();
        files
    },
    read: read_bank,
};

/// `adapter.safetensors`.
pub const ADAPTER: Target = Target {
    name: "adapter",
    files: || in_format(&Native, "adapter.safetensors"),
    read: read_adapter,
};

/// A folder of PEFT.
pub const PEFT: Target = Target {
    name: "peft",
    files: || in_format(&Peft, "unet/adapter_config.json"),
    read: read_adapter,
};

/// kohya's file.
pub const KOHYA: Target = Target {
    name: "kohya",
    files: || in_format(&Kohya, "dog6.safetensors"),
    read: |folder| read_adapter(&folder.join("dog6.safetensors")),
};

/// diffusers' file.
pub const DIFFUSERS: Target = Target {
    name: "diffusers",
    files: || in_format(&Diffusers, "pytorch_lora_weights.safetensors"),
    read: read_adapter,
};

/// Mix-of-Show's file: an archive of PyTorch's with its pickle.
pub const MIX_OF_SHOW: Target = Target {
    name: "mix_of_show",
    files: || {
        let file = fixture("adapters").join("edlora.pth");
        vec![("edlora.pth".into(), std::fs::read(file).expect("a fixture"))]
    },
    read: |folder| formats::open(&folder.join("edlora.pth")).is_ok(),
};

/// Token embeddings.
pub const TEXTUAL_INVERSION: Target = Target {
    name: "textual_inversion",
    files: || {
        let folder = tempfile::tempdir().expect("a folder");
        let embeddings = ([2, 3], vec![0.5; 6]);
        write_textual_inversion(&folder.path().join("dog6.safetensors"), &embeddings)
            .expect("a file");
        files_of(folder.path(), "dog6.safetensors")
    },
    read: |folder| match read_textual_inversion(&folder.join("dog6.safetensors")) {
        Ok(([words, width], values)) => {
            holds(values.len() == words * width, "shapes tell the number of values");
            true
        }
        Err(_) => false,
    },
};

pub fn sites() -> Vec<Site> {
    let site = |name: &str, part| {
        let (name, role) = (name.into(), Role::CrossAttention);
        Site { name, inputs: 6, outputs: 5, part, role }
    };
    let [unet, text] = [Part::Denoiser, Part::TextEncoder];
    vec![site("unet.a.to_k", unet), site("unet.a.to_v", unet), site("text_encoder.b.q_proj", text)]
}

fn adapter() -> StoredAdapter {
    let factors = |rank: usize| {
        // The rows of the identity matrix are orthonormal.
        let down = (0..rank * 6).map(|i| f32::from(i % 6 == i / 6)).collect();
        StoredFactors { rank, up: vec![0.5; 5 * rank], down }
    };
    let ranks = sites().into_iter().zip([1, 2, 1]);
    StoredAdapter(ranks.map(|(site, rank)| (site.name, factors(rank))).collect())
}

/// A bank of two concepts, with this file first.
pub fn bank(first: &str) -> Vec<File> {
    let folder = tempfile::tempdir().expect("a folder");
    let base = BaseModel {
        fingerprint: "0123456789abcdef0123456789abcdef".into(),
        tokenizer: Some("0123456789abcdef0123456789abcdef".into()),
        prediction: None,
        name: "tiny".into(),
        cross_attention_layers: 2,
        token_width: 3,
    };
    let mut bank = Bank::open_or_create(folder.path(), &base, &sites()).expect("a new bank");
    for id in ["cat", "dog"] {
        let adapter = if id == "cat" { adapter() } else { StoredAdapter::default() };
        let record = ConceptRecord::new(
            &ConceptId::new(id).expect("an id"),
            "animal",
            [2, 2],
            true,
            &adapter,
        );
        let training = TrainingRecord {
            method: "seqlora".into(),
            images: vec!["0.png".into()],
            data_digest: "0123456789abcdef0123456789abcdef".into(),
            steps: 1,
            initial_loss: 2.0,
            final_loss: 1.0,
            settings: Value::Null,
            trained_by: "seqlora".into(),
        };
        bank.append(record, &training, &adapter, ([4, 3], vec![0.1; 12])).expect("a concept");
    }
    drop(bank);
    for id in ["cat", "dog"] {
        let file = folder.path().join("concepts").join(id).join("metrics.jsonl");
        std::fs::write(file, "{\"loss\": 1.5}\n").expect("a file");
    }
    let mut files = files_of(folder.path(), first);
    files.retain(|(name, _)| name != ".lock");
    files
}

fn in_format(format: &dyn AdapterFormat, first: &str) -> Vec<File> {
    let folder = tempfile::tempdir().expect("a folder");
    let card = AdapterCard {
        name: "dog6".into(),
        trigger: "dog6".into(),
        base: "tiny".into(),
        token_width: 3,
        prediction: None,
        training: None,
    };
    format.write(folder.path(), &adapter(), &card).expect("an adapter");
    files_of(folder.path(), first)
}

fn read_bank(folder: &Path) -> bool {
    let Ok(bank) = Bank::open(folder) else { return false };
    holds(bank.concepts().iter().all(|id| is_concept_id(id)), "ids are names of folders");
    let whole = bank.concepts().iter().map(|id| read_concept(&bank, id).is_ok());
    let whole = whole.fold(true, |all, one| all & one);
    let _ = bank.inspect();
    let _ = bank.verify();
    let overlaps = overlaps(&bank).is_ok();
    let reserved = bank.reserved(bank.sites(), None).is_ok();
    bank.directions(bank.sites(), None).is_ok() && overlaps && reserved && whole
}

fn read_concept(bank: &Bank, id: &str) -> seqlora_core::Result<()> {
    let record = bank.concept(id).map(|(record, _)| record);
    let embeddings = record.and_then(|record| bank.embeddings(&record));
    let losses = bank.losses(id);
    let adapter = bank.adapter(id)?;
    holds(adapter.misfit(bank.sites()).is_none(), "adapters fit their sites");
    embeddings.and(losses).map(drop)
}

fn read_adapter(path: &Path) -> bool {
    let Ok(adapter) = formats::read(path, &sites()) else { return false };
    holds(adapter.misfit(&sites()).is_none(), "adapters fit their sites");
    let numbers = adapter.0.values().flat_map(|factors| factors.up.iter().chain(&factors.down));
    holds(numbers.copied().all(f32::is_finite), "adapters are finite");
    true
}
