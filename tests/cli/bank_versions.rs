//! Banks of other versions of the program.
//!
//! `tests/fixtures/bank-v1` was learnt by version 0.1.0 before banks had digests: `seqlora learn photos
//! --sites cross-attention` with two steps of one outer and one inner iteration at rank 2, on the two
//! images of a cat that `images.rs` draws. `bank-v1.latents.safetensors` is what that program gave
//! for the options in [`RECORDED`].

use serde_json::{Value, json};

use crate::files::Files;
use crate::golden::processor;
use crate::harness::{Project, fixture};
use crate::images::write_photos;
use crate::weights;

/// The prompt and the options whose latents were recorded.
const RECORDED: (&str, &str) = ("a photo of a <cat>", "--seed 3");

/// Relative to the largest number. Other processors than the one that recorded the latents add in another
/// order.
fn tolerance() -> f32 {
    if processor() == "x86-64 with AVX-512" { 1e-6 } else { 1e-4 }
}

/// A project with the recorded bank.
fn project() -> Project {
    let project = Project::new(&[]);
    Files::read(&fixture("bank-v1")).write(&project.path("bank"));
    project
}

fn version(project: &Project) -> Value {
    let record = std::fs::read(project.path("bank/bank.json")).unwrap();
    serde_json::from_slice::<Value>(&record).unwrap()["version"].clone()
}

fn latents(path: &std::path::Path) -> Vec<f32> {
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    weights::read(path)["latents"].2.chunks_exact(4).map(number).collect()
}

/// # Panics
/// Unless the bank gives the latents that were recorded.
fn assert_draws_as_recorded(project: &Project) {
    let (prompt, options) = RECORDED;
    let options = format!("--bank bank {options} --save-latents latents.safetensors");
    project.generate(prompt, &format!("{options} --concept cat")).succeeds();
    let found = latents(&project.path("latents.safetensors"));
    std::fs::remove_file(project.path("latents.safetensors")).unwrap();
    let expected = latents(&fixture("bank-v1.latents.safetensors"));
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let most = tolerance() * scale;
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= most, "{found} for {expected}");
    }
}

/// A bank of version 1 is read as it lies: nothing is written to it.
#[test]
fn a_bank_of_version_1_is_read() {
    let project = project();
    let before = project.bank();
    let bank = project.inspect();
    let cat = &bank["concepts"][0];
    let found =
        json!([cat["id"], cat["method"], cat["rank"], cat["sites"], cat["words"], cat["steps"]]);
    assert_eq!(found, json!(["cat", "seqlora", 2, 16, 2, 2]));
    assert_eq!(cat["images"], json!(["0.png", "1.png"]));
    assert_draws_as_recorded(&project);
    project.bank().assert_same(&before);
    assert_eq!(version(&project), 1);
}

/// Learning a further concept makes it a bank of version 3, leaves the files of the earlier one alone,
/// and stays orthogonal to it.
#[test]
fn a_bank_of_version_1_grows() {
    let project = project();
    write_photos(&project.path("photos/dog"), "dog");
    let before = project.bank().under("concepts");
    project.learn("photos", "--steps 2").succeeds();
    before.assert_kept_in(&project.bank());
    assert_eq!((project.ids(), version(&project)), (vec!["cat".into(), "dog".into()], 3.into()));
    let overlap = project.inspect()["max_overlap"].as_f64().expect("a number");
    assert!(overlap <= 1e-6, "{overlap}");
    assert_draws_as_recorded(&project);
    project.image("<cat> and <dog>", "");
}

/// A bank of a version to come is refused in one sentence, whatever else it holds, and left alone.
#[test]
fn a_bank_of_a_later_version_is_refused() {
    let project = project();
    let file = project.path("bank/bank.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["version"] = 9.into();
    record["shards"] = json!(["a", "b"]);
    project.write("bank/bank.json", record.to_string());
    write_photos(&project.path("photos/dog"), "dog");
    let before = project.bank();
    let runs = [
        project.run(&["inspect", "bank"]),
        project.generate("<cat>", "--bank bank"),
        project.learn("photos", ""),
    ];
    for run in runs {
        run.fails(1, &["bank/bank.json has version 9", "versions up to 5", "use a newer"]);
    }
    project.bank().assert_same(&before);
}

/// A flipped bit is named, and the other concepts can still be used.
#[test]
fn a_flipped_bit_in_a_bank_is_named() {
    let project = Project::with_bank();
    for name in ["adapter", "tokens"] {
        let file = format!("bank/concepts/dog/{name}.safetensors");
        let whole = std::fs::read(project.path(&file)).unwrap();
        let mut bytes = whole.clone();
        *bytes.last_mut().expect("numbers") ^= 1;
        project.write(&file, bytes);
        project.generate("<dog>", "--bank bank").fails(1, &[&file, "SHA-256"]);
        project.generate("<cat>", "--bank bank --concept cat").succeeds();
        project.write(&file, whole);
    }
    project.generate("<dog>", "--bank bank").succeeds();
}
