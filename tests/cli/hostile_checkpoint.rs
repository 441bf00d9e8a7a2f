//! Checkpoints that were damaged, or made by somebody else: what does not fit the run is refused, and what
//! can be made again is.

use std::fs;
use std::sync::OnceLock;

use burn_seqlora::files::sha256;
use safetensors::tensor::Dtype;
use serde_json::Value;

use crate::files::Files;
use crate::harness::Project;
use crate::weights::{self, Weights};

const OPTIONS: &str = "--steps 8 --save-every 3";
const CHECKPOINT: &str = "bank/concepts/cat/checkpoint";

/// The bank of a run that nobody interrupted.
fn unbroken() -> &'static Files {
    static BANK: OnceLock<Files> = OnceLock::new();
    BANK.get_or_init(|| {
        let project = Project::new(&["cat"]);
        project.learn("photos", OPTIONS).succeeds();
        project.bank()
    })
}

/// A project whose run was interrupted after some steps.
fn interrupted() -> Project {
    static BANK: OnceLock<Files> = OnceLock::new();
    let project = Project::new(&["cat"]);
    let bank = BANK.get_or_init(|| {
        let project = Project::new(&["cat"]);
        let mut run = project.start_learn(OPTIONS);
        run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
        run.interrupt().fails(130, &["the state is saved"]);
        project.bank()
    });
    bank.write(&project.path("bank"));
    project
}

/// The text of `state.json` without spaces, as its checksum sees it.
fn state(project: &Project) -> String {
    let text = fs::read_to_string(project.path(&format!("{CHECKPOINT}/state.json"))).unwrap();
    text.split_whitespace().collect()
}

/// The value of a key in that text, as JSON.
fn value<'a>(state: &'a str, key: &str) -> &'a str {
    let start = state.find(&format!("\"{key}\":")).expect("the key") + key.len() + 3;
    let length = state[start..].find([',', '}']).expect("an end");
    &state[start..start + length]
}

/// The same text with another value.
fn with(state: &str, key: &str, new: &str) -> String {
    let old = format!("\"{key}\":{}", value(state, key));
    state.replacen(&old, &format!("\"{key}\":{new}"), 1)
}

fn tensor_file(project: &Project) -> String {
    format!("{CHECKPOINT}/{}", value(&state(project), "tensors").trim_matches('"'))
}

/// Writes a state with the checksum that it should have, as somebody does who knows the format.
fn write_sealed(project: &Project, state: &str) {
    let file = format!("{CHECKPOINT}/state.json");
    if !state.contains("\"checksum\":") {
        return project.write(&file, state);
    }
    let tensors = fs::read(project.path(&tensor_file(project))).unwrap();
    let unsealed = with(state, "checksum", "\"\"");
    let checksum = sha256((unsealed + &sha256(&tensors)).as_bytes());
    project.write(&file, with(state, "checksum", &format!("\"{checksum}\"")));
}

#[track_caller]
fn is_refused(project: &Project, texts: &[&str]) {
    let run = project.learn("photos", &format!("{OPTIONS} --resume"));
    run.fails(1, &[texts, &["checkpoint folder"]].concat());
    assert_eq!(project.ids(), [""; 0]);
}

/// Tensors that do not fit the run, each with a checksum that fits: they would be broadcast, or panic.
#[test]
fn tensors_of_another_run_are_refused() {
    type Change = fn(&mut Weights);
    /// The tensor of the first site of this kind.
    fn of(weights: &Weights, kind: &str) -> String {
        weights.keys().find(|name| name.ends_with(kind)).expect("such a tensor").clone()
    }
    fn reshape(weights: &mut Weights, kind: &str, rows: usize) {
        let name = of(weights, kind);
        let (_, shape, bytes) = weights.get_mut(&name).expect("it is there");
        shape[0] = rows;
        bytes.truncate(4 * rows * shape[1]);
    }
    fn as_integers(weights: &mut Weights, kind: &str) {
        let name = of(weights, kind);
        weights.get_mut(&name).expect("it is there").0 = Dtype::I32;
    }
    fn first_number(weights: &mut Weights, kind: &str, number: f32) {
        let name = of(weights, kind);
        let (_, _, bytes) = weights.get_mut(&name).expect("it is there");
        bytes[..4].copy_from_slice(&number.to_le_bytes());
    }
    let cases: [(Change, &str); 9] = [
        (|w| reshape(w, ".outer_second", 1), "has shape [1, 2], expected"),
        (|w| reshape(w, ".down", 1), "has shape [1, 2], expected"),
        (|w| reshape(w, "embeddings_second", 1), "`embeddings_second` has shape [1, 32], expected"),
        (|w| w.retain(|name, _| !name.ends_with(".up")), ".up` is missing"),
        (|w| drop(w.remove("embeddings_first")), "`embeddings_first` is missing"),
        (
            |w| drop(w.insert("x.up".into(), (Dtype::F32, vec![1, 1], vec![0; 4]))),
            "`x.up` belongs to no layer",
        ),
        (|w| as_integers(w, ".up"), "is not f32 but I32"),
        (|w| first_number(w, ".inner_second", -1.0), "holds negative numbers"),
        (|w| first_number(w, ".up", f32::NAN), "not finite"),
    ];
    for (change, text) in cases {
        let project = interrupted();
        let file = project.path(&tensor_file(&project));
        let mut weights = weights::read(&file);
        change(&mut weights);
        weights::write(&file, &weights);
        write_sealed(&project, &state(&project));
        is_refused(&project, &["checkpoint/state-", text]);
    }
}

/// States that cannot be, each with a checksum that fits.
#[test]
fn states_that_cannot_be_are_refused() {
    let cases = [
        ("step", "18446744073709551615", "`step` is 18446744073709551615"),
        ("step", "9", "`step` is 9, and the run has 8"),
        ("inner_count", "1000000000", "`inner_count` is 1000000000"),
        ("embeddings_count", "1000000000", "`embeddings_count` is 1000000000"),
        ("tensors", "\"../../../../outside.safetensors\"", "`tensors` is none of"),
        ("batch", "100000000000", "`batch` is 100000000000"),
    ];
    for (key, value, text) in cases {
        let project = interrupted();
        // A file to be found by who follows the path.
        let outside = fs::read(project.path(&tensor_file(&project))).unwrap();
        let state = state(&project);
        project.write("outside.safetensors", outside);
        let sealed = with(&state, key, value);
        match key {
            "tensors" => project.write(&format!("{CHECKPOINT}/state.json"), sealed),
            _ => write_sealed(&project, &sealed),
        }
        is_refused(&project, &["checkpoint/state.json", text]);
    }
}

/// Any change by accident: a count that could be, and a bit of a tensor.
#[test]
fn accidents_are_noticed() {
    let project = interrupted();
    let text = state(&project);
    let count: usize = value(&text, "inner_count").parse().unwrap();
    let counted = with(&text, "inner_count", &(count - 1).to_string());
    project.write(&format!("{CHECKPOINT}/state.json"), counted);
    is_refused(&project, &["checkpoint/state-", "state.json was written for"]);

    let project = interrupted();
    let file = tensor_file(&project);
    let mut bytes = fs::read(project.path(&file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    project.write(&file, bytes);
    is_refused(&project, &["checkpoint/state-", "state.json was written for"]);
}

/// Metrics are cut at the end of a line, wherever the state says that they end.
#[test]
fn metrics_stay_whole_lines() {
    let project = interrupted();
    write_sealed(&project, &with(&state(&project), "metrics_bytes", "5"));
    project.learn("photos", &format!("{OPTIONS} --resume")).succeeds();
    let metrics = fs::read_to_string(project.path("bank/concepts/cat/metrics.jsonl")).unwrap();
    let step = |line| serde_json::from_str::<Value>(line).unwrap()["step"].clone();
    assert_eq!(metrics.lines().map(step).collect::<Vec<_>>().pop(), Some(8.into()));
}

/// Latents that are damaged or of something else are encoded again, and the result is the same.
#[test]
fn damaged_latents_are_encoded_again() {
    let name = format!("{CHECKPOINT}/latents.bin");
    for damage in ["a bit", "the end", "all"] {
        let project = interrupted();
        let mut bytes = fs::read(project.path(&name)).unwrap();
        match damage {
            "a bit" => bytes[100] ^= 1,
            "the end" => bytes.truncate(bytes.len() - 1),
            _ => bytes.fill(7),
        }
        project.write(&name, bytes);
        project.learn("photos", &format!("{OPTIONS} --resume")).succeeds();
        project.bank().assert_same(unbroken());
    }
}

/// Nothing is written through links that lie where the state or the metrics should be.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_links() {
    for name in ["../metrics.jsonl", "latents.bin"] {
        let project = interrupted();
        project.write("victim", "kept");
        let link = project.path(CHECKPOINT).join(name);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(project.path("victim"), &link).unwrap();
        let resume = format!("{OPTIONS} --resume");
        project.learn("photos", &resume).fails(1, &["symbolic link"]);
        assert_eq!(fs::read_to_string(project.path("victim")).unwrap(), "kept");
    }
}
