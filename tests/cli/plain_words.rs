//! Mistakes in files that people write, or repair by hand, are told without Rust's names for things.

use std::fs;

use burn_seqlora::files::sha256;
use serde_json::{Value, json};

use crate::harness::{Project, fixture};
use crate::hostile_model::JARGON;
use crate::images::write_photos;
use crate::run::Run;
use crate::stranger::Stranger;

/// Panics unless a run fails, names the file that is wrong, and speaks plainly.
#[track_caller]
fn is_told_plainly(run: Run, code: i32, file: &str) {
    let run = run.fails(code, &[]);
    let text = run.stdout + &run.stderr;
    println!("{}", text.trim_end());
    assert!(text.contains(file), "`{file}` is not in:\n{text}");
    let jargon = JARGON.iter().find(|word| text.contains(**word));
    assert!(jargon.is_none(), "{jargon:?} in:\n{text}");
}

/// Makes each change of a file alone, and checks what `inspect` says of the bank.
fn inspect_each(project: &Project, file: &str, cases: &[(&str, Value)]) {
    let (whole, stranger) = (project.bank(), Stranger::new(project));
    let change = |record: &mut Value, (pointer, value): &(&str, Value)| {
        *record.pointer_mut(pointer).expect("a key") = value.clone();
    };
    for case in cases {
        match file {
            "bank.json" => stranger.bank(|record| change(record, case)),
            "concept.json" => stranger.concept("dog", |record| change(record, case)),
            _ => {
                let path = stranger.path(&format!("concepts/dog/{file}"));
                let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                change(&mut record, case);
                let text = record.to_string();
                fs::write(path, &text).unwrap();
                let digest = sha256(text.as_bytes());
                stranger.concept("dog", |record| record["digests"][file] = digest.into());
            }
        }
        is_told_plainly(project.run(&["inspect", "bank"]), 1, file);
        whole.write(&project.path("bank"));
    }
}

/// The records of a bank with another kind of value, or a number out of range.
#[test]
fn damaged_records_are_told_in_plain_words() {
    let project = Project::with_bank();
    let cases = [
        ("/version", json!("two")),
        ("/version", json!(-1)),
        ("/base", json!("x")),
        ("/base/token_width", json!("x")),
        ("/base/token_width", json!(1.5)),
        ("/base/name", json!(3)),
        ("/base/prediction", json!("flow")),
        ("/concepts", json!(3)),
        ("/digests", json!([])),
        ("/sites", json!({})),
        ("/sites/0", json!(3)),
        ("/sites/0/inputs", json!(-1)),
        ("/sites/0/role", json!("magic")),
    ];
    inspect_each(&project, "bank.json", &cases);
    let cases = [
        ("/class_word", json!([])),
        ("/words", json!(-1)),
        ("/words", json!(1e300)),
        ("/reserves_directions", json!("yes")),
        ("/sites", json!([])),
        ("/digests", json!(7)),
    ];
    inspect_each(&project, "concept.json", &cases);
    let cases = [("/steps", json!(-1)), ("/images", json!(3)), ("/initial_loss", json!("x"))];
    inspect_each(&project, "training.json", &cases);
}

/// Settings as text, lists and tables in the place of numbers.
#[test]
fn mistakes_in_settings_are_told_in_plain_words() {
    let project = Project::new(&["cat"]);
    for text in [
        "steps = 'many'",
        "steps = -1",
        "steps = 99999999999999999999",
        "[steps]",
        "lr_unet = []",
        "captions = 3",
        "common_prompts = 3",
        "sites = 3",
    ] {
        project.write("settings.toml", text);
        is_told_plainly(project.learn("photos", "--plan"), 2, "settings.toml");
    }
    let model = fixture("tiny-sd1");
    let evaluate = ["evaluate", "photos", "--config", "evaluate.toml", "--bank", "bank"];
    let evaluate = [&evaluate[..], &["--out", "run", "--model", model.to_str().unwrap()]].concat();
    for text in [
        "protocol = 3",
        "[protocol]\nsteps = 'many'",
        "[protocol]\nseeds = [-1]",
        "[protocol]\nguidance = []",
        "[protocol]\nbootstrap = 3",
        "[metrics]\nnames = 3",
    ] {
        project.write("evaluate.toml", text);
        is_told_plainly(project.run(&evaluate), 2, "evaluate.toml");
    }
}

/// Manifests and lists of images.
#[test]
fn mistakes_in_manifests_are_told_in_plain_words() {
    let project = Project::new(&["cat"]);
    let concept = "[[concept]]\nid = 'cat'\nimages = 'photos/cat'\n";
    let with = |line: &str| format!("{concept}{line}");
    for (file, text) in [
        ("cat.toml", "concept = 3".to_string()),
        ("cat.toml", with("steps = 'many'")),
        ("cat.toml", with("steps = -1")),
        ("cat.toml", with("templates = 3")),
        ("cat.toml", with("class = []")),
        ("cat.json", "3".to_string()),
        ("cat.json", "[3]".to_string()),
        ("cat.json", r#"[{"instance_prompt": 3, "instance_data_dir": "photos/cat"}]"#.to_string()),
    ] {
        project.write(file, text);
        is_told_plainly(project.learn(file, "--plan"), 1, file);
    }
    write_photos(&project.path("photos/dog"), "dog");
    for text in ["3", "[]", r#"{"file_name": 3}"#, r#"{"file_name": "0.png", "text": 3}"#] {
        project.write("photos/dog/metadata.jsonl", text);
        is_told_plainly(project.learn("photos/dog", "--plan"), 1, "metadata.jsonl");
    }
}
