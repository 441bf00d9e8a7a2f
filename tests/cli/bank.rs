//! `seqlora bank list`, `verify` and `remove`.

use std::fs;

use burn_seqlora::check::greatest;
use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Project, THREE, fixture};
use crate::images::write_photos;
use crate::run::Run;
use crate::stranger::Stranger;
use crate::weights::{self, Weights};

fn bank(project: &Project, command: &str, arguments: &[&str]) -> Run {
    project.run(&[&["bank", command, "bank"], arguments].concat())
}

#[track_caller]
fn ids(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|concept| concept["id"].as_str().expect("an id"))
        .collect()
}

/// The problems that `verify` finds: the concept, the file's name and the sentence of each.
#[track_caller]
fn problems(project: &Project) -> Vec<(Value, String, String)> {
    let run = bank(project, "verify", &["--json"]).fails(1, &["is not what it says"]);
    let value = run.json();
    assert_eq!(value["sound"], false);
    let text = |problem: &Value, key: &str| problem[key].as_str().expect("a text").to_string();
    let problem = |problem: &Value| {
        assert!(!text(problem, "remedy").is_empty());
        (problem["concept"].clone(), text(problem, "file"), text(problem, "problem"))
    };
    value["problems"].as_array().expect("a list").iter().map(problem).collect()
}

/// The columns of B of a concept at each site, in f64.
fn columns(project: &Project, file: &str) -> Vec<(String, Vec<Vec<f64>>)> {
    let down = |(name, (_, shape, bytes)): (String, weights::Tensor)| {
        let site = name.strip_suffix(".lora_down")?.to_string();
        let number = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
        let numbers: Vec<f64> = bytes.chunks_exact(4).map(number).collect();
        Some((site, numbers.chunks(shape[1]).map(<[f64]>::to_vec).collect()))
    };
    let read: Weights = weights::read(&project.path(file));
    read.into_iter().filter_map(down).collect()
}

/// The largest |entry| of B_jᵀ B_i of two concepts, by its definition.
fn overlap(a: &[(String, Vec<Vec<f64>>)], b: &[(String, Vec<Vec<f64>>)]) -> f64 {
    let mut entries = Vec::new();
    for (site, columns) in a {
        let Some((_, others)) = b.iter().find(|(name, _)| name == site) else { continue };
        for x in columns {
            for y in others {
                entries.push(x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>().abs());
            }
        }
    }
    greatest(entries)
}

#[test]
fn a_learnt_bank_is_listed_and_sound() {
    let project = Project::with_bank();
    let before = project.bank();
    let list = bank(&project, "list", &["--json"]).succeeds().json();
    assert_eq!(ids(&list["concepts"]), THREE);
    assert_eq!(
        (&list["concepts"][1]["class_word"], &list["method"]),
        (&json!("dog"), &json!("seqlora"))
    );
    assert_eq!(list["concepts"][0]["group"], Value::Null);
    let text = bank(&project, "list", &[]).succeeds().stdout;
    assert!(THREE.iter().all(|id| text.contains(id)) && text.starts_with("concept"), "{text}");

    let found = bank(&project, "verify", &["--json"]).succeeds().json();
    assert_eq!((&found["sound"], &found["problems"]), (&json!(true), &json!([])));
    let [cat, dog, mug] =
        THREE.map(|id| columns(&project, &format!("bank/concepts/{id}/adapter.safetensors")));
    let most = greatest([overlap(&cat, &dog), overlap(&cat, &mug), overlap(&dog, &mug)]);
    let worst = found["worst"]["overlap"].as_f64().expect("a number");
    assert!((worst - most).abs() < 1e-12 && worst < 1e-6, "{worst} {most}");
    assert_eq!(found["sites"].as_array().expect("a list").len(), cat.len());
    assert!(bank(&project, "verify", &[]).succeeds().stdout.ends_with("sound\n"));
    project.bank().assert_same(&before);
}

#[test]
fn damage_is_named_with_its_file_and_a_remedy() {
    let project = Project::with_bank();
    for (file, concept) in [
        ("concepts/dog/tokens.safetensors", json!("dog")),
        ("concepts/dog/concept.json", json!("dog")),
        ("basis/columns.f32", Value::Null),
    ] {
        let path = project.path(&format!("bank/{file}"));
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = problems(&project);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, concept);
        assert!(file.starts_with(found[0].1.trim_start_matches("bank/")), "{found:?}");
        fs::write(&path, whole).unwrap();
    }
    // The digests are right, and the cache and the other concepts tell.
    let stranger = Stranger::new(&project);
    let cat = weights::read(&stranger.path("concepts/cat/adapter.safetensors"));
    stranger.tensors("dog", "adapter.safetensors", |dog| *dog = cat);
    let found = problems(&project);
    assert!(
        found[0].0 == "dog" && found[0].2.contains("its overlap with `cat` is 1.0e0"),
        "{found:?}"
    );
    bank(&project, "verify", &[]).fails(1, &["is not what it says: dog"]);
}

/// What is removed stays apart from what is learnt afterwards, and everybody else's files are as before.
#[test]
fn a_removed_concept_stays_apart_from_later_ones() {
    let project = Project::with_bank();
    let dog = columns(&project, "bank/concepts/dog/adapter.safetensors");
    let others = ["concepts/cat", "concepts/mug"].map(|folder| project.bank().under(folder));
    let image = project.image("a <cat>", "--concept cat");
    let run = bank(&project, "remove", &["dog", "--json"]).succeeds().json();
    let directions: usize = dog.iter().map(|(_, columns)| columns.len()).sum();
    assert_eq!(run["reserved_directions"], directions);
    assert_eq!((&run["freed_directions"], &run["concepts"]), (&json!(0), &json!(["cat", "mug"])));
    for other in &others {
        other.assert_kept_in(&project.bank());
    }
    assert!(project.bank().under("concepts/dog").names().next().is_none());
    assert!(image == project.image("a <cat>", "--concept cat"), "another image");
    project.generate("a <dog>", "--bank bank").fails(1, &["no concept <dog>"]);
    let list = bank(&project, "list", &["--json"]).succeeds().json();
    assert_eq!(
        (ids(&list["concepts"]), ids(&list["reserved_for_removed"])),
        (vec!["cat", "mug"], vec!["dog"])
    );
    bank(&project, "verify", &[]).succeeds();

    write_photos(&project.path("photos/fox"), "fox");
    project.learn("photos/fox", "").succeeds();
    let fox = columns(&project, "bank/concepts/fox/adapter.safetensors");
    assert!(overlap(&dog, &fox) < 1e-6, "{}", overlap(&dog, &fox));
    for other in &others {
        other.assert_kept_in(&project.bank());
    }
    assert_eq!(
        bank(&project, "verify", &["--json"]).succeeds().json()["reserved_for_removed"],
        json!(["dog"])
    );
}

/// With its directions freed, nothing is left of a concept, and the next one is what it would have been.
#[test]
fn freed_directions_leave_no_trace() {
    let project = Project::with_bank();
    let run = bank(&project, "remove", &["mug", "--free-directions"]).succeeds();
    assert!(run.stdout.starts_with("mug is removed; ") && run.stdout.contains("are free again"));
    write_photos(&project.path("photos/mug"), "mug");
    project.learn("photos/mug", "").succeeds();
    project.bank().assert_same(&crate::harness::Learnt::three().bank);
    // What was kept can be given up later.
    bank(&project, "remove", &["mug"]).succeeds();
    bank(&project, "remove", &["mug"]).fails(1, &["no concept <mug>"]);
    let again = bank(&project, "remove", &["mug", "--free-directions", "--json"]).succeeds().json();
    assert_eq!(again["was_listed"], false);
    project.learn("photos/mug", "").succeeds();
    project.bank().assert_same(&crate::harness::Learnt::three().bank);
}

#[test]
fn what_cannot_be_removed_changes_nothing() {
    let project = Project::with_bank();
    let before = project.bank();
    bank(&project, "remove", &["dogs"]).fails(1, &["did you mean <dog>?", "known: cat, dog, mug"]);
    bank(&project, "remove", &["x"]).fails(1, &["no concept <x>; known: cat, dog, mug"]);
    project.run(&["bank", "remove", "nowhere", "dog"]).fails(1, &["there is no nowhere/bank.json"]);
    project.run(&["bank", "forget", "bank"]).fails(2, &["forget"]);
    assert!(!project.path("nowhere").exists());
    fs::remove_dir_all(project.path("bank/basis")).unwrap();
    let adapter = project.path("bank/concepts/dog/adapter.safetensors");
    fs::write(&adapter, "no adapter").unwrap();
    bank(&project, "remove", &["dog"]).fails(1, &["`dog` cannot be kept", "--free-directions"]);
    fs::remove_dir_all(project.path("bank")).unwrap();
    before.write(&project.path("bank"));
    project.write("bank/concepts/fox/checkpoint/state.json", "{}");
    bank(&project, "remove", &["dog"]).fails(1, &["`fox` is being trained", "--resume"]);
}

/// A bank of version 1, whose concepts have no digests, can lose one.
#[test]
fn a_concept_of_a_bank_of_version_1_is_removed() {
    let project = Project::new(&["dog"]);
    Files::read(&fixture("bank-v1")).write(&project.path("bank"));
    let cat = columns(&project, "bank/concepts/cat/adapter.safetensors");
    bank(&project, "verify", &[]).succeeds();
    bank(&project, "remove", &["cat"]).succeeds();
    project.learn("photos", "--steps 2").succeeds();
    let dog = columns(&project, "bank/concepts/dog/adapter.safetensors");
    assert!(!cat.is_empty() && overlap(&cat, &dog) < 1e-6);
    bank(&project, "verify", &[]).succeeds();
}

/// SIGKILL at moments that are spread over a removal.
#[cfg(unix)]
#[test]
fn a_killed_removal_is_done_or_not() {
    use std::time::{Duration, Instant};

    use crate::run::Running;

    let start = Instant::now();
    bank(&Project::with_bank(), "remove", &["dog"]).succeeds();
    let whole = start.elapsed();
    for number in 1..=8u32 {
        let project = Project::with_bank();
        let others = ["concepts/cat", "concepts/mug"].map(|folder| project.bank().under(folder));
        let run = Running::start(project.command(&["bank", "remove", "bank", "dog"]));
        let part = (f64::from(number) * 0.618_034).fract();
        run.kill_after(whole.mul_f64(part).max(Duration::from_millis(1)));
        bank(&project, "verify", &[]).succeeds();
        let list = bank(&project, "list", &["--json"]).succeeds().json();
        if ids(&list["concepts"]) == THREE {
            bank(&project, "remove", &["dog"]).succeeds();
        }
        // Any other writer removes the rest.
        bank(&project, "remove", &["x"]).fails(1, &["no concept <x>"]);
        assert!(!project.path("bank/concepts/dog").exists());
        for other in &others {
            other.assert_kept_in(&project.bank());
        }
    }
}
