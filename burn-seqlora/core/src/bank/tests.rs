//! Banks whose files somebody has changed.

use std::fs;
use std::path::Path;

use seqlora_files::{read_json, write_json};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::formats::native;
use super::*;
use crate::error::{Error, Result};
use crate::lora::{Part, Role, StoredAdapter, StoredFactors};

pub fn site(name: &str) -> Site {
    let (part, role) = (Part::Denoiser, Role::CrossAttention);
    Site { name: name.into(), inputs: 3, outputs: 2, part, role }
}

pub fn sites() -> Vec<Site> {
    ["unet.a.to_k", "unet.a.to_v"].map(site).to_vec()
}

pub fn base() -> BaseModel {
    let fingerprint = "0123".into();
    let (tokenizer, prediction, name) = (None, None, "tiny".into());
    BaseModel {
        fingerprint,
        tokenizer,
        prediction,
        name,
        cross_attention_layers: 1,
        token_width: 2,
    }
}

pub fn training() -> TrainingRecord {
    TrainingRecord {
        method: "seqlora".into(),
        images: vec!["0.png".into()],
        data_digest: String::new(),
        steps: 1,
        initial_loss: 2.0,
        final_loss: 1.0,
        settings: Value::Null,
        trained_by: "this test".into(),
    }
}

fn adapter() -> StoredAdapter {
    let factors = StoredFactors { rank: 1, up: vec![0.5, 2.0], down: vec![0.0, 1.0, 0.0] };
    StoredAdapter([("unet.a.to_v".to_string(), factors)].into())
}

fn append(bank: &mut Bank, record: ConceptRecord) -> Result<()> {
    bank.append(record, &training(), &adapter(), ([1, 2], vec![0.1, 0.2]))
}

pub fn id(id: &str) -> ConceptId {
    ConceptId::new(id).unwrap()
}

fn record(name: &str) -> ConceptRecord {
    ConceptRecord::new(&id(name), "animal", [1, 1], true, &adapter())
}

/// A bank of a cat and a dog.
fn bank() -> (TempDir, Bank) {
    let folder = tempfile::tempdir().unwrap();
    let mut bank = Bank::open_or_create(folder.path(), &base(), &sites()).unwrap();
    append(&mut bank, record("cat")).unwrap();
    append(&mut bank, record("dog")).unwrap();
    (folder, bank)
}

/// The same without digests of `concept.json`, as earlier versions left it.
fn bank_without_digests() -> (TempDir, Bank) {
    let (folder, mut bank) = bank();
    bank.record.digests.clear();
    (folder, bank)
}

/// Changes the value at a JSON pointer.
fn change(file: &Path, pointer: &str, value: Value) {
    let mut json: Value = read_json(file).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(parent).unwrap() {
        Value::Array(entries) => entries[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    write_json(file, &json).unwrap();
}

/// # Panics
/// Unless the error is about this file and says this.
#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T>, file: &Path, text: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()) && error.contains(text), "{error}");
}

#[test]
fn what_is_appended_is_read() {
    let (folder, bank) = bank();
    drop(bank);
    let bank = Bank::open_for(folder.path(), &base()).unwrap();
    assert_eq!((bank.concepts(), bank.method()), (&["cat", "dog"].map(id)[..], Some("seqlora")));
    assert_eq!(bank.adapter("dog").unwrap(), adapter());
    let (record, read) = bank.concept("dog").unwrap();
    assert_eq!(read, training());
    assert_eq!(bank.embeddings(&record).unwrap(), ([1, 2], vec![0.1, 0.2]));
    assert_eq!(bank.reserved(&sites(), None).unwrap(), [0, 2]);
}

#[test]
fn a_flipped_bit_is_found_and_the_other_concepts_stay_usable() {
    let (_folder, bank) = bank_without_digests();
    let dog = bank.record("dog").unwrap();
    for name in [native::FILE, TOKENS] {
        let file = bank.concept_folder(&id("dog")).join(name);
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        // The lowest bit of the last number: the file stays well-formed.
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        match name {
            TOKENS => assert_says(bank.embeddings(&dog), &file, "SHA-256"),
            _ => assert_says(bank.adapter("dog"), &file, "SHA-256"),
        }
        let cat = bank.record("cat").unwrap();
        bank.adapter("cat").unwrap();
        bank.embeddings(&cat).unwrap();
        fs::write(&file, whole).unwrap();
    }
    let record = bank.concept_folder(&id("dog")).join(CONCEPT);
    change(&record, "/digests", json!({ TOKENS: "0123" }));
    assert_says(bank.adapter("dog"), &record, "`digests` has no entry for adapter.safetensors");
}

#[test]
fn a_hostile_list_of_concepts_or_sites_is_refused() {
    let cases = [
        ("/concepts/1", json!("../cat"), "`../cat` is not a valid id"),
        ("/concepts/0", json!("/etc"), "`/etc` is not a valid id"),
        ("/digests/dog", json!({}), "invalid type: object"),
        ("/concepts/1", json!("CAT"), "`concepts[1]`: `CAT` is listed twice"),
        ("/sites/1/name", json!(""), "`sites[1].name`"),
        ("/sites/1/name", json!("unet.a.to_k"), "`sites[1].name`: `unet.a.to_k`"),
        (
            "/sites/1/name",
            json!("a\u{1b}[2J"),
            r"`sites[1].name` contains the control character '\u{1b}'",
        ),
        ("/sites/0/inputs", json!(0), "`sites[0].inputs` is 0, and must be between 1 and 65536"),
        ("/sites/0/outputs", json!(1u64 << 62), "`sites[0].outputs` is 4611686018427387904"),
        ("/base/token_width", json!(1u64 << 62), "`base.token_width` is 46"),
        ("/base/name", json!("x".repeat(2000)), "`base.name` has 2000 bytes"),
        ("/method", json!("\u{7}"), "`method` contains the control character"),
        ("/version", json!(null), "`version`"),
        ("/version", json!(0), "`version`"),
        ("/owner", json!("me"), "unknown field `owner`"),
        (
            "/reserved",
            json!([{ "id": "fox", "directions": "../../../etc/passwd" }]),
            "`reserved[0].directions` is no SHA-256",
        ),
        ("/reserved", json!([{ "id": "../fox", "directions": "" }]), "`../fox` is not a valid id"),
        ("/leftovers", json!(["CAT"]), "`leftovers`: `CAT` is a concept"),
        ("/leftovers", json!([".."]), "`..` is not a valid id"),
    ];
    for (pointer, value, text) in cases {
        let (folder, _bank) = bank();
        let file = folder.path().join(BANK);
        change(&file, pointer, value);
        assert_says(Bank::open(folder.path()), &file, text);
    }
}

#[test]
fn a_newer_version_is_told_before_its_unknown_keys() {
    let (folder, bank) = bank();
    change(&folder.path().join(BANK), "/digests", json!({}));
    let files = [bank.concept_folder(&id("cat")).join(CONCEPT), folder.path().join(BANK)];
    for (file, newest) in files.iter().zip([4, 5]) {
        change(file, "/version", json!(9));
        change(file, "/later", json!("yes"));
        let result = Bank::open(folder.path()).and_then(|bank| bank.concept("cat"));
        let known = |error: &Error| match error {
            Error::NewerVersion { version: 9, known, .. } => Some(*known),
            _ => None,
        };
        assert_eq!(result.as_ref().err().and_then(known), Some(newest), "{result:?}");
        assert_says(result, file, "has version 9");
    }
}

#[test]
fn a_hostile_record_of_a_concept_is_refused() {
    let cases = [
        ("/id", json!("../cat"), "`../cat` is not a valid id"),
        ("/class_word", json!("\u{1b}[2J"), "`class_word` contains the control character"),
        ("/id", json!("cat"), "`id` is `cat`, and its folder belongs to `dog`"),
        ("/words", json!(0), "`words` is 0"),
        ("/words", json!(usize::MAX), "`words` is"),
        ("/embeddings_per_word", json!(1u64 << 40), "`embeddings_per_word` is"),
        ("/embeddings_per_word", json!(2), "`embeddings_per_word` is 2, and the base model has 1"),
        ("/sites/unet.a.to_v/rank", json!(0), "the rank of `unet.a.to_v` is 0"),
        ("/sites/unet.a.to_v/rank", json!(3), "must be between 1 and 2"),
        ("/sites/unet.a.to_v/inputs", json!(4), "no `unet.a.to_v` of 4 inputs"),
        ("/sites/unet.b", json!({ "rank": 1, "inputs": 3, "outputs": 2 }), "no `unet.b`"),
        ("/sites/unet.a.to_v/alpha", json!(1), "unknown field `alpha`"),
    ];
    for (pointer, value, text) in cases {
        let (_folder, bank) = bank_without_digests();
        let file = bank.concept_folder(&id("dog")).join(CONCEPT);
        change(&file, pointer, value);
        assert_says(bank.concept("dog"), &file, text);
        bank.adapter("cat").unwrap();
    }
}

#[test]
fn inference_does_not_need_to_know_how_a_concept_was_trained() {
    let (_folder, bank) = bank_without_digests();
    let record = bank.concept_folder(&id("dog")).join(CONCEPT);
    let mut digests = bank.record("dog").unwrap().digests;
    digests.remove(TRAINING).unwrap();
    change(&record, "/digests", json!(digests));
    change(&record, "/version", json!(2));
    let file = bank.concept_folder(&id("dog")).join(TRAINING);
    change(&file, "/later_key", json!(1));
    assert_eq!(bank.concept("dog").unwrap().1, training());
    fs::write(&file, "{}").unwrap();
    assert_says(bank.concept("dog"), &file, "method");
    let dog = bank.record("dog").unwrap();
    bank.adapter("dog").unwrap();
    bank.embeddings(&dog).unwrap();
}

#[test]
fn a_rank_that_the_record_does_not_know_is_refused() {
    let (_folder, bank) = bank_without_digests();
    let record = bank.concept_folder(&id("dog")).join(CONCEPT);
    change(&record, "/sites/unet.a.to_v/rank", json!(2));
    let file = bank.concept_folder(&id("dog")).join(native::FILE);
    assert_says(bank.adapter("dog"), &file, "`unet.a.to_v` is 1, and concept.json says 2");
}

#[test]
fn what_could_not_be_read_again_is_not_appended() {
    let (folder, mut bank) = bank();
    let fox = id("fox");
    let many = ConceptRecord::new(&fox, "animal", [76, 1], true, &adapter());
    let error = append(&mut bank, many).unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("`words` is 76")), "{error}");
    let other_words = ConceptRecord::new(&fox, "animal", [2, 1], true, &adapter());
    let other_sites = ConceptRecord::new(&fox, "animal", [1, 1], true, &StoredAdapter::default());
    for (record, text) in [(other_words, "differ in shape"), (other_sites, "differ in their ranks")]
    {
        let error = append(&mut bank, record).unwrap_err().to_string();
        assert!(error.contains("`fox`") && error.contains(text), "{error}");
    }
    assert!(!folder.path().join("fox").exists() && !bank.concept_folder(&fox).exists());
    let twice = append(&mut bank, record("Dog"));
    assert!(matches!(twice, Err(Error::DuplicateConcept { id }) if id == "dog"));
}

/// A record of version 1, whose ranks are those of the bank's sites in order.
fn version_1(ranks: Value) -> Value {
    json!({
        "id": "dog", "class_word": "dog", "images": [], "data_digest": "", "words": 2,
        "rows_per_word": 1, "ranks": ranks, "steps": 1, "initial_loss": 2.0, "final_loss": 1.0,
        "config": { "method": "lora" }, "trained_by": "an older version",
    })
}

#[test]
fn records_of_version_1_are_checked_too() {
    let (_folder, bank) = bank_without_digests();
    let file = bank.concept_folder(&id("dog")).join(CONCEPT);
    write_json(&file, &version_1(json!([2, 0]))).unwrap();
    let (record, training) = bank.concept("dog").unwrap();
    assert_eq!(record.ranks(&sites()), [2, 0]);
    assert_eq!((record.words, record.embeddings_per_word), (2, 1));
    assert_eq!((training.method.as_str(), record.reserves_directions), ("lora", false));

    write_json(&file, &version_1(json!([2]))).unwrap();
    assert_says(bank.concept("dog"), &file, "`ranks` has 1 entries for 2 sites");
    write_json(&file, &version_1(json!([3, 0]))).unwrap();
    assert_says(bank.concept("dog"), &file, "the rank of `unet.a.to_k` is 3");
    write_json(&file, &version_1(json!([2, 0]))).unwrap();
    change(&file, "/id", json!("cat"));
    assert_says(bank.concept("dog"), &file, "`id` is `cat`");
}
