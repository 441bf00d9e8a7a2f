//! `learn --continue`: a concept of the bank is trained further.

use crate::harness::{Learnt, Project, THREE};
use crate::run::Running;

const FURTHER: &str = "--continue dog --steps 4 --save-every 2";

/// A bank of three concepts, and their images.
fn project() -> Project {
    let project = Project::new(&THREE);
    Learnt::three().bank.write(&project.path("bank"));
    project
}

/// It begins where it ended, and nothing else in the bank changes.
#[test]
fn it_begins_where_it_ended() {
    let project = project();
    let before = &Learnt::three().bank;
    let ended = Learnt::three().summary["concepts"][1]["final_loss"].as_f64().unwrap();
    for (round, steps) in [(1, 10), (2, 14)] {
        let run = project.learn("photos", &format!("{FURTHER} --json")).succeeds();
        assert!(run.stderr.contains("4 steps after"), "{}", run.stderr);
        let concept = &run.json()["concepts"][0];
        let (began, now) = (&concept["initial_loss"], concept["final_loss"].as_f64().unwrap());
        if round == 1 {
            let began = began.as_f64().unwrap();
            assert!((began - ended).abs() < 1e-5 * ended, "{began} after {ended}");
            assert!(now < began, "{now} after {began}");
        }
        assert_eq!((&concept["id"], &concept["steps"]), (&"dog".into(), &steps.into()));
        let bank = project.bank();
        let own = format!("concepts/dog/{round}/");
        let names: Vec<String> = bank.under("concepts/dog").names().collect();
        assert!(names.len() == 5 && names.iter().all(|name| name.starts_with(&own)), "{names:?}");
        for id in ["cat", "mug"] {
            before.under(&format!("concepts/{id}")).assert_kept_in(&bank);
        }
        let lines = bank.bytes(&format!("{own}metrics.jsonl"));
        assert!(lines.starts_with(before.bytes("concepts/dog/metrics.jsonl")));
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), steps);
        assert_eq!(project.ids(), THREE);
        project.run(&["bank", "verify", "bank"]).succeeds();
    }
    project.image("a <dog> and a <mug>", "");
    // The data of a whole bank are as learnt as before.
    let run = project.learn("photos", "--resume").succeeds();
    assert!(run.stderr.contains("dog is learnt already"), "{}", run.stderr);
    project.run(&["bank", "remove", "bank", "dog"]).succeeds();
    assert_eq!(project.bank().under("concepts/dog").names().count(), 0);
}

/// A run that is interrupted leaves the concept as it was, and goes on to the same bytes.
#[test]
fn it_is_resumed_to_the_same_bytes() {
    let options = "--continue dog --steps 24 --save-every 3";
    let whole = project();
    whole.learn("photos/dog", options).succeeds();
    let broken = project();
    let mut run = Running::start(broken.learn_command("photos/dog", options));
    run.wait_for(&broken.path("bank/concepts/dog/1/checkpoint/state.json"));
    run.interrupt().fails(130, &["the state is saved"]);
    Learnt::three().bank.under("concepts").assert_kept_in(&broken.bank());
    broken.run(&["bank", "verify", "bank"]).succeeds();
    broken.learn("photos/dog", options).fails(1, &["`dog` interrupted at step", "--resume"]);
    broken.run(&["bank", "remove", "bank", "cat"]).fails(1, &["dog", "checkpoint"]);
    broken.learn("photos/dog", &format!("{options} --resume")).succeeds();
    broken.bank().assert_same(&whole.bank());
    // Once more would be another training.
    let texts = ["`dog` has no unfinished training"];
    broken.learn("photos/dog", &format!("{options} --resume")).fails(1, &texts);
}

/// What others rely on stays, and images have to be of the concept.
#[test]
fn what_would_change_the_concept_for_others_is_refused() {
    let project = project();
    for (data, options, text) in [
        ("photos/dog", "--continue dog --rank 1", "`rank` is 1, and `dog` keeps 2"),
        ("photos/dog", "--continue dog --sites all", "`sites` is \"all\""),
        ("photos/dog", "--continue dog --method lora", "`method` is \"lora\""),
        ("photos/dog", "--continue cow", "cow"),
    ] {
        project.learn(data, options).fails(1, &[text]);
    }
    let texts = ["no images of `dog`, but of cat"];
    project.learn("photos/cat", "--continue dog").fails(2, &texts);
    project.learn("photos/dog", "--continue dog --steps 0").fails(2, &["`steps`"]);
    project.bank().assert_same(&Learnt::three().bank);
}

/// A concept keeps the class that it was learnt with, whatever its folder is called.
#[test]
fn the_class_stays() {
    let project = Project::new(&["cat"]);
    project.learn("photos/cat", "--id rex --class dog --steps 3").succeeds();
    std::fs::rename(project.path("photos/cat"), project.path("photos/rex")).unwrap();
    let before = project.inspect()["concepts"][0]["final_loss"].as_f64().unwrap();
    let further = |options: &str| {
        project.learn("photos/rex", &format!("--continue rex --steps 2 --json {options}"))
    };
    further("--class cat").fails(2, &["--class cat", "`dog`, and keeps it"]);
    let run = further("").succeeds();
    assert!(run.stderr.contains("`dog`, with which `rex` was learnt"), "{}", run.stderr);
    let first = run.json()["concepts"][0]["initial_loss"].as_f64().unwrap();
    assert!((first - before).abs() < 1e-5 * before, "{first} after {before}");
    assert_eq!(project.inspect()["concepts"][0]["class_word"], "dog");
}
