//! `learn --keep-going`: a queue of concepts does not end at the first one that fails.

use std::fs;

use crate::harness::Project;
use crate::run::{Run, Running};

/// Cuts an image in the middle.
fn damage(project: &Project, name: &str) {
    let whole = fs::read(project.path(name)).unwrap();
    project.write(name, &whole[..whole.len() / 2]);
}

/// The ids of the concepts that failed.
fn failed(run: &Run) -> Vec<String> {
    let failed = run.json()["failed"].as_array().expect("a list").clone();
    failed.iter().map(|concept| concept["id"].as_str().expect("a text").into()).collect()
}

/// Damaged images end a run before it begins, or cost their concept only.
#[test]
fn damaged_images_cost_their_concept_only() {
    let project = Project::new(&["cat", "dog", "mug"]);
    damage(&project, "photos/dog/1.png");
    project.learn("photos", "--steps 1").fails(1, &["1 images of concept `dog`"]);
    assert_eq!(project.ids(), [""; 0]);
    let options = "--steps 1 --keep-going";
    let texts = ["photos/dog/1.png", "cannot be learnt: dog"];
    let plan = project.learn("photos", &format!("{options} --plan --json")).fails(1, &texts);
    assert_eq!((failed(&plan), project.ids().len()), (vec!["dog".to_string()], 0));
    let run = project.learn("photos", options).fails(1, &texts);
    assert!(run.stdout.contains("failed: <dog>"), "{}", run.stdout);
    assert_eq!(project.ids(), ["cat", "mug"]);

    crate::images::write_photos(&project.path("photos/dog"), "dog");
    project.learn("photos", &format!("{options} --resume")).succeeds();
    assert_eq!(project.ids(), ["cat", "mug", "dog"]);
}

/// A loss that is not finite is noticed for each concept, and what was begun of it is gone.
#[test]
fn each_concept_is_tried() {
    let project = Project::new(&["cat", "dog"]);
    let diverging = "--steps 4 --save-every 1 --lr-unet 1e30 --keep-going --json";
    let run = project.learn("photos", diverging).fails(1, &["cannot be learnt: cat, dog"]);
    assert_eq!(failed(&run), ["cat", "dog"]);
    let error = run.json()["failed"][0]["error"].as_str().unwrap().to_string();
    assert!(error.contains("of `cat` is") && error.contains("at step"), "{error}");
    assert!(!project.path("bank/concepts/cat/checkpoint").exists());
    let run = project.learn("photos", "--steps 1 --keep-going --json").succeeds();
    assert_eq!(failed(&run), [""; 0]);
    assert_eq!(project.ids(), ["cat", "dog"]);
}

/// Images that are damaged after the start cost their concept, too; a run that is interrupted later goes on without it
/// to the same bytes.
#[test]
fn images_damaged_meanwhile_cost_their_concept_only() {
    let options = "--steps 10 --save-every 3 --keep-going";
    let whole = Project::new(&["cat", "mug"]);
    whole.learn("photos", options).succeeds();

    let project = Project::new(&["cat", "dog", "mug"]);
    let mut run = project.start_learn(options);
    run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
    for number in 0..2 {
        damage(&project, &format!("photos/dog/{number}.png"));
    }
    run.wait_for(&project.path("bank/concepts/mug/metrics.jsonl"));
    run.interrupt().fails(130, &["failed", "photos/dog/", "the state is saved"]);
    assert_eq!(project.ids(), ["cat"]);
    crate::images::write_photos(&project.path("photos/dog"), "dog");
    project.learn("photos", &format!("{options} --resume")).succeeds();
    assert_eq!(project.ids(), ["cat", "mug", "dog"]);
    for id in ["cat", "mug"] {
        whole.bank().under(&format!("concepts/{id}")).assert_kept_in(&project.bank());
    }
}

/// What was begun of a concept whose images cannot be read for a while does not stand in its way later.
#[test]
fn a_begun_concept_that_fails_is_learnt_later() {
    let project = Project::new(&["dog"]);
    let options = "--steps 14 --save-every 2";
    let mut run = project.start_learn(options);
    run.wait_for(&project.path("bank/concepts/dog/checkpoint/state.json"));
    run.interrupt().fails(130, &["the state is saved"]);
    damage(&project, "photos/dog/0.png");
    crate::images::write_photos(&project.path("photos/mug"), "mug");
    let goes_on = format!("{options} --resume --keep-going");
    project.learn("photos", &goes_on).fails(1, &["photos/dog/0.png"]);
    assert_eq!(project.ids(), ["mug"]);
    crate::images::write_photos(&project.path("photos/dog"), "dog");
    project.learn("photos", &format!("{options} --resume")).succeeds();
    assert_eq!(project.ids(), ["mug", "dog"]);
}

/// Ctrl-C ends the run and not only a concept.
#[test]
fn an_interrupted_run_ends() {
    let project = Project::new(&["cat", "dog"]);
    let command = project.learn_command("photos", "--steps 500 --keep-going");
    let mut run = Running::start(command);
    run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
    run.interrupt().fails(130, &["the state is saved"]);
    assert!(!project.path("bank/concepts/dog").exists());
}
