//! `seqlora audit`: of a bank whose concepts are kept apart, one whose concepts are not, and adapters of
//! other tools.

use std::fs;

use serde_json::Value;

use crate::harness::{Project, THREE, fixture};
use crate::run::Run;

fn audit(project: &Project, arguments: &[&str]) -> Run {
    project.run(&[&["audit"], arguments].concat())
}

/// With the tiny model and a single step.
fn with_model(project: &Project, paths: &[&str], options: &[&str]) -> Run {
    let mut command = project.command(&[&["audit"], paths].concat());
    command.arg("--model").arg(fixture("tiny-sd1")).args(["--steps", "1"]).args(options);
    Run::of(command)
}

#[track_caller]
fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().expect("a list")
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Concepts of `seqlora` are orthogonal, those of `lora` as far from it as chance has it.
#[test]
fn a_method_that_keeps_concepts_apart_shows() {
    let project = Project::with_bank();
    let before = project.bank();
    let found = audit(&project, &["bank", "--json"]).succeeds().json();
    let pairs = list(&found, "weights");
    assert_eq!((pairs.len(), &found["activations"]), (3, &Value::Null));
    for pair in pairs {
        assert!(number(&pair["mean_relative_to_random"]) < 1e-10, "{pair}");
        assert!((number(&pair["smallest_angle_degrees"]) - 90.0).abs() < 1e-4);
        assert!(number(&pair["cosine"]).abs() < 1e-6);
    }
    project.bank().assert_same(&before);

    let lora = Project::new(&THREE);
    lora.learn("photos", "--method lora").succeeds();
    let found = audit(&lora, &["bank", "--json"]).succeeds().json();
    let pairs = list(&found, "weights");
    let mean = pairs.iter().map(|p| number(&p["mean_relative_to_random"])).sum::<f64>() / 3.0;
    assert!((0.6..1.6).contains(&mean), "{mean}");
    assert!(pairs.iter().all(|pair| number(&pair["smallest_angle_degrees"]) < 80.0));
}

/// Orthogonal subspaces, and yet each concept answers to the inputs of the others.
#[test]
fn what_weights_do_not_show_inputs_do() {
    let project = Project::with_bank();
    let found = with_model(&project, &["bank"], &["--json"]).succeeds().json();
    let activations = &found["activations"];
    let pairs = list(activations, "disturbances");
    assert_eq!(pairs.len(), 6);
    for pair in pairs {
        let (keys, worst) = (number(&pair["keys_and_values"]), number(&pair["worst"]["ratio"]));
        assert!(keys > 1e-3 && worst >= keys, "{pair}");
        assert!(number(&pair["text_encoder"]) > 0.0 && number(&pair["other_layers"]) > 0.0);
    }
    // The worst come first.
    let largest = |pair: &Value| {
        let groups = ["text_encoder", "keys_and_values", "other_layers"];
        groups.map(|group| number(&pair[group])).into_iter().fold(0.0, f64::max)
    };
    assert!(pairs.windows(2).all(|two| largest(&two[0]) >= largest(&two[1])));
    let common = list(activations, "on_common_prompts");
    assert!(
        common.len() == 3 && common.iter().all(|share| number(&share["keys_and_values"]) > 0.0)
    );
    // The ratios are those of the energies.
    let layers = list(activations, "layers");
    let worst = &pairs[0]["worst"];
    let layer = layers.iter().find(|layer| layer["site"] == worst["site"]).expect("the layer");
    let at = |id: &Value| THREE.iter().position(|known| id == known).expect("a concept");
    let (by, on) = (at(&pairs[0]["by"]), at(&pairs[0]["on"]));
    let ratio = (number(&layer["on"][by][on]) / number(&layer["on"][on][on])).sqrt();
    assert!((ratio - number(&worst["ratio"])).abs() < 1e-12);
    // The same run gives the same numbers.
    assert_eq!(with_model(&project, &["bank"], &["--json"]).succeeds().json(), found);

    let text = with_model(&project, &["bank"], &["--pairs", "2"]).succeeds().stdout;
    for part in
        ["overlap / random", "disturbs", "on common prompts", "keys and values", "and 4 more"]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    println!("{text}");
}

/// An adapter in kohya's format acts on the bank's concepts; with a prompt, they act on it.
#[test]
fn adapters_of_other_tools_are_compared_with_a_bank() {
    let project = Project::with_bank();
    project
        .run(&["export", "bank", "--concept", "dog", "--format", "kohya", "--out", "out"])
        .succeeds();
    fs::rename(project.path("out/kohya/dog.safetensors"), project.path("style.safetensors"))
        .unwrap();
    let paths = ["bank", "style.safetensors"];
    audit(&project, &paths).fails(2, &["--model"]);
    let found = with_model(&project, &paths, &["--json"]).succeeds().json();
    assert_eq!(found["adapters"], serde_json::json!(["bank/cat", "bank/dog", "bank/mug", "style"]));
    // It is the dog.
    let pairs = list(&found, "weights");
    let same = |pair: &&Value| pair["adapters"] == serde_json::json!(["bank/dog", "style"]);
    let same = pairs.iter().find(same).expect("a pair");
    assert!(number(&same["smallest_angle_degrees"]) < 1e-3 && number(&same["cosine"]) > 0.999_999);
    let of = |found: &Value, key: &str, id: &str| {
        list(&found["activations"], "disturbances").iter().filter(|pair| pair[key] == id).count()
    };
    assert_eq!((of(&found, "by", "style"), of(&found, "on", "style")), (3, 0));
    let options = ["--json", "--prompt", "style=a drawing of a dog"];
    let found = with_model(&project, &paths, &options).succeeds().json();
    assert_eq!(of(&found, "on", "style"), 3);
    assert!(!list(&found, "advice").is_empty(), "the same adapter twice");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let project = Project::with_bank();
    audit(&project, &[]).fails(2, &["BANK"]);
    audit(&project, &["nowhere"]).fails(2, &["neither a bank nor", "peft"]);
    audit(&project, &["bank", "--prompt", "dogs=a dog"]).fails(2, &["`dogs`", "cat, dog, mug"]);
    audit(&project, &["bank", "--prompt", "dog"]).fails(2, &["ID=TEXT"]);
    audit(&project, &["bank", "bank"]).fails(2, &["two adapters are called `bank/cat`"]);
    project.run(&["bank", "remove", "bank", "dog"]).succeeds();
    project.run(&["bank", "remove", "bank", "mug"]).succeeds();
    audit(&project, &["bank"]).fails(2, &["1 adapters: it takes two"]);
    let file = ["bank", "--common-prompts", "none.txt"];
    audit(&Project::with_bank(), &file).fails(2, &["none.txt"]);
}
