//! `learn --orthogonal-within`: concepts are kept apart within their groups.

use serde_json::{Value, json};

use crate::harness::Project;

/// A bank of a cat and a dog in one group and a mug in another.
fn project(options: &str) -> Project {
    let project = Project::new(&["cat", "dog", "mug"]);
    for (thing, group) in [("cat", "pets"), ("dog", "pets"), ("mug", "things")] {
        let options = format!("--orthogonal-within {group} {options}");
        project.learn(&format!("photos/{thing}"), &options).succeeds();
    }
    project
}

/// The overlap of two concepts as `audit` has it: a multiple of that of random subspaces.
fn overlap(project: &Project, pair: [&str; 2]) -> f64 {
    let found = project.run(&["audit", "bank", "--json"]).succeeds().json();
    let pairs = found["weights"].as_array().expect("a list");
    let pair = pairs.iter().find(|found| found["adapters"] == json!(pair)).expect("the pair");
    pair["mean_relative_to_random"].as_f64().expect("a number")
}

#[test]
fn groups_are_kept_apart_within_and_not_from_each_other() {
    let project = project("");
    assert!(overlap(&project, ["cat", "dog"]) < 1e-10);
    for pet in ["cat", "dog"] {
        assert!(overlap(&project, [pet, "mug"]) > 0.1);
    }
    let groups = |command: &[&str]| {
        let found = project.run(command).succeeds().json();
        let concepts = found["concepts"].as_array().expect("a list").clone();
        concepts.iter().map(|concept| concept["group"].clone()).collect::<Value>()
    };
    assert_eq!(groups(&["bank", "list", "bank", "--json"]), json!(["pets", "pets", "things"]));
    assert_eq!(groups(&["inspect", "bank", "--json"]), json!(["pets", "pets", "things"]));
    project.run(&["bank", "verify", "bank"]).succeeds();
    // A concept without a group keeps to none of them.
    crate::images::write_photos(&project.path("photos/fox"), "fox");
    project.learn("photos/fox", "").succeeds();
    for other in ["cat", "dog", "mug"] {
        assert!(overlap(&project, [other, "fox"]) < 1e-10);
    }
    // What is left of a removed pet concerns its group.
    project.run(&["bank", "remove", "bank", "cat"]).succeeds();
    project.run(&["bank", "verify", "bank"]).succeeds();
}

/// Each group has the whole capacity of a layer.
#[test]
fn groups_go_beyond_the_capacity_of_a_layer() {
    let project = Project::new(&["cat", "dog", "mug"]);
    let options = "--steps 1 --rank 12 --sites cross-attention --strict-capacity";
    let learn = |thing: &str, group: &str| {
        project.learn(&format!("photos/{thing}"), &format!("{options} {group}"))
    };
    learn("cat", "").succeeds();
    learn("dog", "").succeeds();
    learn("mug", "").fails(1, &["no capacity left for `mug`"]);
    learn("mug", "--orthogonal-within things").succeeds();
    let announced = "--orthogonal-within things --concepts 1";
    crate::images::write_photos(&project.path("photos/fox"), "fox");
    learn("fox", announced).fails(1, &["holds 1 of the group `things`"]);
    project.learn("photos/fox", "--orthogonal-within=a/b").fails(2, &["`orthogonal_within`"]);
}
