//! Adapters of other tools against the tools themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::bank::formats::{self, AdapterCard, AdapterFormat, Peft};
use burn_seqlora::bank::{Bank, read_tensors, write_tensors};
use burn_seqlora::lora::{Site, StoredAdapter, StoredFactors};
use seqlora_tests::fixtures::{self, Fixture};

/// PEFT multiplies the factors in f32.
const TOLERANCE: f64 = 1e-6;

/// The sites of the tiny model, as a bank lists them.
fn sites() -> Vec<Site> {
    Bank::open(&fixtures::path("bank-v1")).unwrap().sites().to_vec()
}

fn card() -> AdapterCard {
    AdapterCard {
        name: "tiny".into(),
        trigger: "tiny".into(),
        base: "tiny-sd1".into(),
        token_width: 8,
        prediction: None,
        training: None,
    }
}

/// A Bᵀ, row by row.
fn delta_weight(factors: &StoredFactors) -> Vec<f64> {
    let (rank, inputs) = (factors.rank, factors.inputs());
    let entry = |row: &[f32], column: usize| -> f64 {
        let down = factors.down.iter().skip(column).step_by(inputs);
        row.iter().zip(down).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    factors
        .up
        .chunks(rank)
        .flat_map(|row| (0..inputs).map(move |column| entry(row, column)))
        .collect()
}

/// # Panics
/// Unless the adapter has the modules that PEFT has adapted, and its ΔW.
fn assert_is_pefts(adapter: &StoredAdapter) {
    assert_has_deltas(adapter, "peft/delta_weight.safetensors", TOLERANCE);
}

/// # Panics
/// Unless the adapter has the modules of a fixture, and their ΔW.
fn assert_has_deltas(adapter: &StoredAdapter, fixture: &str, tolerance: f64) {
    let fixture = Fixture::open(fixture);
    let names: BTreeSet<String> = fixture.names().into_iter().collect();
    assert_eq!(adapter.0.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, factors) in &adapter.0 {
        let expected = fixture.values(name);
        let found = delta_weight(factors);
        assert_eq!(found.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= tolerance * scale,
                "{name}: {found} for {expected}"
            );
        }
    }
}

/// What PEFT has saved has the ΔW that PEFT says: ranks and alphas that differ between modules,
/// rank-stabilised scales, and f16.
#[test]
fn adapters_of_peft_are_read() {
    let adapter = formats::read(&fixtures::path("peft"), &sites()).unwrap();
    assert_is_pefts(&adapter);
    let ranks: BTreeSet<usize> = adapter.0.values().map(|factors| factors.rank).collect();
    assert_eq!(ranks, BTreeSet::from([1, 2, 3, 4]));
}

/// Before version 5 of transformers the text encoder's modules began with `text_model.`.
#[test]
fn module_names_of_older_transformers_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = formats::read(&fixtures::path("peft"), &sites()).unwrap();
    Peft.write(folder.path(), &adapter, &card()).unwrap();
    let file = folder.path().join("text_encoder/adapter_model.safetensors");
    let older =
        |(key, matrix): (String, _)| (key.replace("encoder.", "text_model.encoder."), matrix);
    let tensors = read_tensors(&file).unwrap().into_iter().map(older).collect();
    write_tensors(&file, &tensors).unwrap();
    assert_eq!(formats::read(folder.path(), &sites()).unwrap(), adapter);
}

/// What we write comes back as it was, and says what PEFT has to be told: `reference/check_peft.py`
/// loads it with PEFT itself from the folder that `SEQLORA_PEFT_OUT` names.
#[test]
fn adapters_for_peft_come_back() {
    let adapter = formats::read(&fixtures::path("peft"), &sites()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("SEQLORA_PEFT_OUT").map(PathBuf::from);
    let folder = folder.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(folder).unwrap();
    Peft.write(folder, &adapter, &card()).unwrap();
    let read = formats::read(folder, &sites()).unwrap();
    assert_eq!(read, adapter);
    assert_is_pefts(&read);
    for component in ["unet", "text_encoder"] {
        assert_names_agree(&folder.join(component));
    }
}

/// # Panics
/// Unless the modules that the configuration names are those of the tensors, with their ranks.
fn assert_names_agree(folder: &Path) {
    let config = fs::read_to_string(folder.join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let targets = config["target_modules"].as_array().unwrap();
    let rank = |module: &str| config["rank_pattern"].get(module).unwrap_or(&config["r"]).clone();
    let named: BTreeMap<&str, _> =
        targets.iter().map(|name| name.as_str().unwrap()).map(|name| (name, rank(name))).collect();
    let tensors = read_tensors(&folder.join("adapter_model.safetensors")).unwrap();
    let stored: BTreeMap<&str, _> = tensors
        .iter()
        .filter_map(|(key, ([rank, _], _))| {
            let module = key.strip_prefix("base_model.model.")?.strip_suffix(".lora_A.weight")?;
            Some((module, (*rank).into()))
        })
        .collect();
    assert_eq!(named, stored);
    assert_eq!(config["alpha_pattern"], config["rank_pattern"], "every scale is one");
}

/// The same adapter as diffusers, kohya and Mix-of-Show store it is the one that PEFT has after diffusers
/// has loaded it.
#[test]
fn adapters_of_other_tools_are_read() {
    for (file, format, tolerance) in [
        ("pytorch_lora_weights.safetensors", "diffusers", TOLERANCE),
        // Its factors are rounded to f16.
        ("kohya.safetensors", "kohya", 2e-3),
        ("edlora.pth", "mix-of-show", TOLERANCE),
        // Folders with pickles.
        ("old-diffusers", "diffusers", TOLERANCE),
        ("old-peft", "peft", TOLERANCE),
    ] {
        let path = fixtures::path("adapters").join(file);
        let (found, foreign) = formats::open(&path).unwrap();
        assert_eq!(found.name(), format);
        let matched = foreign.matched(|site| found.module_names(site), &sites()).unwrap();
        assert_eq!(matched.others, [""; 0], "{file}");
        assert_has_deltas(&matched.adapter, "adapters/delta_weight.safetensors", tolerance);
        let words: Vec<&String> = foreign.words.keys().collect();
        let expected = if format == "mix-of-show" { &["<potter1>", "<potter2>"][..] } else { &[] };
        assert_eq!(words, expected);
    }
}
