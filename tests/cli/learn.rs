//! `seqlora learn` when all goes well.

use serde_json::Value;

use crate::harness::{Learnt, Project, THREE, fixture};
use crate::images::{image, sixteen_bit_png, turned_png};

const CAT: &str = "concepts/cat/adapter.safetensors";

/// Panics unless the loss of each concept fell.
#[track_caller]
fn assert_losses_fall(concepts: &Value) {
    for concept in concepts.as_array().expect("a list") {
        let loss = |key: &str| concept[key].as_f64().expect("a number");
        assert!(loss("final_loss") < loss("initial_loss"), "{concept:#}");
    }
}

/// The adapter that `photos/cat` gives if its two images are these files.
fn adapter_of(name: &str, images: [Vec<u8>; 2]) -> Vec<u8> {
    let project = Project::new(&[]);
    for (number, bytes) in images.iter().enumerate() {
        project.write(&format!("photos/cat/{number}.{name}"), bytes);
    }
    project.learn("photos", "--steps 2").succeeds();
    project.bank().bytes(CAT).to_vec()
}

/// The adapter that the images of a cat give as ordinary PNG files.
fn plain_adapter() -> Vec<u8> {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--steps 2").succeeds();
    project.bank().bytes(CAT).to_vec()
}

/// Three concepts, one after the other: losses fall, and no two share a direction.
#[test]
fn three_concepts_are_learnt_in_sequence() {
    let Learnt { summary, messages, .. } = Learnt::three();
    assert_losses_fall(&summary["concepts"]);
    for id in THREE {
        assert!(messages.contains(&format!("<{id}>")), "{messages}");
    }

    let project = Project::with_bank();
    let bank = project.inspect();
    assert_eq!(project.ids(), THREE);
    assert_losses_fall(&bank["concepts"]);
    assert!(bank["max_overlap"].as_f64().expect("a number") <= 1e-6, "{bank:#}");
    assert_eq!(bank["concepts"][1]["rank"], 2);
    assert_eq!(bank["capacity"][0]["used"], 6);
    let text = project.run(&["inspect", "bank"]).succeeds().stdout;
    assert!(THREE.iter().all(|id| text.contains(id)), "{text}");
}

/// The frozen model may compute in 16 bits; that is kept with the concept, and going on with an
/// interrupted run in another precision is refused.
#[test]
fn a_concept_is_learnt_in_half_precision() {
    let project = Project::new(&["cat"]);
    let summary = project.learn("photos", "--steps 2 --precision bf16 --json").succeeds().json();
    assert_losses_fall(&summary["concepts"]);
    let record = std::fs::read_to_string(project.path("bank/concepts/cat/training.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["settings"]["precision"], "bf16");
    assert_ne!(project.bank().bytes(CAT), plain_adapter());
    project.learn("photos", "--steps 2 --resume").fails(1, &["cat", "precision"]);
}

/// What f16 and differences in 16 bits would make of gradients is refused; the report of a 16-bit run is of
/// what its layers apply, which rounding makes less orthogonal.
#[test]
fn numbers_in_16_bits_are_what_they_claim() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos", "--precision f16").fails(2, &["`precision` is f16", "bf16"]);
    let differences = "--precision bf16 --hvp finite-difference";
    project.learn("photos", differences).fails(2, &["`hvp` is finite-difference", "f32"]);
    project.learn("photos", "--steps 2 --precision bf16").succeeds();
    let metrics = std::fs::read_to_string(project.path("bank/concepts/dog/metrics.jsonl")).unwrap();
    for line in metrics.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let overlap = line["overlap"].as_f64().expect("a number");
        assert!((1e-5..1e-2).contains(&overlap), "{overlap}");
    }
    assert!(project.inspect()["max_overlap"].as_f64().expect("a number") < 1e-6);
}

/// A rank that no layer has is an error, one that some lack a warning with what they get.
#[test]
fn ranks_above_the_layers_sizes_are_told() {
    let project = Project::new(&["cat"]);
    let texts = ["`rank` is 60000", "no layer", "more than 48 inputs and outputs"];
    project.learn("photos", "--rank 60000").fails(1, &texts);
    let run = project.learn("photos", "--rank 30 --plan").succeeds();
    assert!(run.stderr.contains("get a lower rank than 30, 24 at least"), "{}", run.stderr);
    let strict = "--rank 30 --plan --strict-capacity";
    project.learn("photos", strict).fails(1, &["no capacity left for `cat` at rank 30"]);
}

/// A plan refuses what the run would refuse, and counts what the bank holds.
#[test]
fn a_plan_is_as_strict_as_the_run() {
    let project = Project::with_bank();
    crate::images::write_photos(&project.path("photos/kite"), "kite");
    crate::images::write_photos(&project.path("photos/vase"), "vase");
    let plan = project.learn("photos", "--plan").succeeds();
    let room = "9 more concepts at rank 2 (of the fullest layer's directions, 18 are free)";
    assert!(plan.stderr.contains(room), "{}", plan.stderr);
    for run in ["", "--plan"] {
        let learn = |options: &str| project.learn("photos", &format!("{options} {run}"));
        learn("--concepts 0").fails(2, &["`concepts` must be at least 1"]);
        let texts = ["`concepts` is 4, but the bank holds 3, and 2 more"];
        learn("--concepts 4").fails(1, &texts);
    }
    let whole = std::fs::read(project.path("photos/vase/1.png")).unwrap();
    project.write("photos/vase/1.png", &whole[..whole.len() / 2]);
    project
        .learn("photos", "--plan")
        .fails(1, &["1 images of concept `vase`", "photos/vase/1.png"]);
}

/// A plan counts the directions that concepts take by their records: their adapters, and what is kept of these,
/// are not read.
#[test]
fn a_plan_reads_no_adapters() {
    let project = Project::with_bank();
    crate::images::write_photos(&project.path("photos/kite"), "kite");
    // More than three concepts leave in the narrowest layers, so that ranks depend on what is taken.
    let plan = || {
        let run = project.learn("photos", "--plan --rank 20 --json").succeeds();
        let capacity = run.stderr.lines().find(|line| line.starts_with("capacity "));
        (run.json()["concepts"].clone(), capacity.map(String::from))
    };
    let (concepts, capacity) = plan();
    assert_eq!(concepts[0]["least_rank"], 24 - 3 * 2, "{concepts:#}");
    assert!(capacity.is_some());
    for id in THREE {
        let adapter = project.path(&format!("bank/concepts/{id}/adapter.safetensors"));
        std::fs::remove_file(adapter).unwrap();
    }
    std::fs::remove_dir_all(project.path("bank/basis")).unwrap();
    assert_eq!(plan(), (concepts, capacity));
}

/// Learning another concept leaves the earlier ones' files alone, and it does not matter whether
/// concepts come in one run or in several.
#[test]
fn one_by_one_is_the_same_as_all_at_once() {
    let project = Project::new(&THREE);
    for id in THREE {
        let before = project.bank().under("concepts");
        project.learn(&format!("photos/{id}"), "").succeeds();
        before.assert_kept_in(&project.bank());
    }
    project.bank().assert_same(&Learnt::three().bank);
}

/// The alternating method runs the same path without second derivatives, and ends elsewhere.
#[test]
fn alternating_is_another_method() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--method alternating").succeeds();
    let alternating = project.bank();
    let concept = &project.inspect()["concepts"][0];
    assert_eq!(concept["method"], "alternating");
    assert_losses_fall(&Value::Array(vec![concept.clone()]));
    assert!(alternating.bytes(CAT) != Learnt::three().bank.bytes(CAT), "the methods agree");

    let project = Project::new(&["cat"]);
    project.learn("photos", "--hvp none").succeeds();
    assert!(alternating.bytes(CAT) == project.bank().bytes(CAT), "the paths differ");
}

/// Plain LoRA runs the same path and ends elsewhere. A concept is the same whatever the bank held
/// before, so concepts overlap; and a bank takes concepts of one method only.
#[test]
fn plain_loras_know_nothing_of_each_other() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos", "--method lora").succeeds();
    let bank = project.inspect();
    assert_eq!((&bank["method"], &bank["concepts"][1]["method"]), (&"lora".into(), &"lora".into()));
    assert_losses_fall(&bank["concepts"]);
    let overlap = bank["max_overlap"].as_f64().expect("a number");
    assert!(overlap > 0.01, "{overlap}");
    assert_eq!(bank["capacity"][0]["used"], 0);
    let files = project.bank();
    assert!(files.bytes(CAT) != Learnt::three().bank.bytes(CAT), "the methods agree");

    let alone = Project::new(&["dog"]);
    alone.learn("photos", "--method lora").succeeds();
    let dog = "concepts/dog/adapter.safetensors";
    assert!(files.bytes(dog) == alone.bank().bytes(dog), "the dog knows of the cat");

    project.write("photos/kite/0.png", std::fs::read(fixture("images/cmyk.jpg")).unwrap());
    let texts = ["bank holds concepts learnt with `lora`", "--method lora", "another bank"];
    project.learn("photos/kite", "--method seqlora").fails(1, &texts);
    project.bank().assert_same(&files);
    project.image("<cat> and <dog>", "");
}

/// Second derivatives by finite differences land near the exact ones.
#[test]
fn finite_differences_come_close() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--hvp finite-difference").succeeds();
    let loss = |id: &Value| id["concepts"][0]["final_loss"].as_f64().expect("a number");
    let (near, exact) = (loss(&project.inspect()), loss(&Learnt::three().summary));
    assert!((near - exact).abs() < 1e-3 * exact, "{near} and {exact}");
}

/// The seed decides everything.
#[test]
fn the_seed_decides() {
    let learn = |options| {
        let project = Project::new(&["cat"]);
        project.learn("photos", options).succeeds();
        project.bank()
    };
    let first = learn("--steps 2 --seed 7");
    first.assert_same(&learn("--steps 2 --seed 7"));
    assert!(first.bytes(CAT) != learn("--steps 2 --seed 8").bytes(CAT), "the seeds agree");
}

/// A manifest names concepts, classes and steps; `--plan` only shows them.
#[test]
fn a_manifest_decides_ids_and_steps() {
    let project = Project::new(&["cat", "dog"]);
    let manifest = "
        [[concept]]
        id = 'rex'
        class = 'dog'
        images = 'photos/dog'
        steps = 1
        [[concept]]
        id = 'tom'
        class = 'cat'
        images = ['photos/cat/1.png']
        templates = ['a drawing of a {}']
    ";
    project.write("concepts.toml", manifest);
    let plan = project.learn("concepts.toml", "--plan").succeeds();
    assert!(plan.stderr.contains("<rex>") && plan.stderr.contains("rank 2"), "{}", plan.stderr);
    let plan = project.learn("concepts.toml", "--plan --json").succeeds();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let first = &plan["concepts"][0];
    assert_eq!(
        (&first["id"], &first["steps"], &first["full"]),
        (&"rex".into(), &1.into(), &0.into())
    );
    assert!(!project.path("bank").exists(), "a plan writes nothing");

    project.learn("concepts.toml", "--steps 2").succeeds();
    assert_eq!(project.ids(), ["rex", "tom"]);
    let concepts = &project.inspect()["concepts"];
    assert_eq!((&concepts[0]["steps"], &concepts[0]["class_word"]), (&1.into(), &"dog".into()));
    assert_eq!((&concepts[1]["steps"], &concepts[1]["images"][0]), (&2.into(), &"1.png".into()));
}

/// `--id` and `--class` name a single folder.
#[test]
fn options_name_a_single_folder() {
    let project = Project::new(&["cat"]);
    project.learn("photos/cat", "--steps 1 --id tom --class kitten --quiet").succeeds();
    let concept = &project.inspect()["concepts"][0];
    assert_eq!((&concept["id"], &concept["class_word"]), (&"tom".into(), &"kitten".into()));
}

/// A class word that is several tokens is shown with them.
#[test]
fn the_tokens_of_class_words_are_shown() {
    let project = Project::new(&["cat"]);
    let plan = |class, json| {
        project.learn("photos/cat", &format!("--class {class} --plan {json}")).succeeds()
    };
    let text = "`goose` is 2 tokens (goo|se), whose mean it starts from";
    assert!(plan("goose", "").stderr.contains(text), "{}", plan("goose", "").stderr);
    assert!(plan("cat", "").stderr.contains("`cat` is one token"));
    let tokens = plan("goose", "--json").json()["concepts"][0]["class_tokens"].clone();
    assert_eq!(tokens, serde_json::json!(["goo", "se"]));
}

/// A photo from a camera held on its side trains as the same photo stored upright.
#[test]
fn photos_are_trained_upright() {
    let turned = [0, 1].map(|number| turned_png(&image("cat", number)));
    assert!(adapter_of("png", turned) == plain_adapter(), "it was trained on its side");
}

/// 16 bits per channel train as 8, whatever the file is called.
#[test]
fn sixteen_bits_are_read() {
    let deep = [0, 1].map(|number| sixteen_bit_png(&image("cat", number)));
    assert!(adapter_of("jpg", deep) == plain_adapter(), "the upper bytes make another adapter");
}

/// CMYK photos train; without Adobe's marker their colours would be a guess, so they are refused.
#[test]
fn cmyk_photos_are_read_or_refused() {
    let cmyk = std::fs::read(fixture("images/cmyk.jpg")).unwrap();
    let project = Project::new(&[]);
    project.write("photos/vase/0.jpg", &cmyk);
    let summary = project.learn("photos", "--steps 2 --json").succeeds().json();
    assert!(summary["concepts"][0]["final_loss"].as_f64().expect("a number").is_finite());

    let marker = cmyk.windows(2).position(|pair| pair == [0xFF, 0xEE]).expect("Adobe's marker");
    let ambiguous = [&cmyk[..marker], &cmyk[marker + 16..]].concat();
    project.write("photos/cup/0.jpg", ambiguous);
    project.learn("photos/cup", "").fails(1, &["photos/cup/0.jpg", "CMYK", "convert it to RGB"]);
    assert_eq!(project.ids(), ["vase"]);
}

/// Who may read other files of the user may read a bank.
#[cfg(unix)]
#[test]
fn banks_have_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::new(&["cat"]);
    project.learn("photos", "--steps 1").succeeds();
    let mode = |name| project.path(name).metadata().unwrap().permissions().mode();
    assert_eq!(mode("bank/bank.json"), mode("settings.toml"));
    assert_eq!(mode(&format!("bank/{CAT}")), mode("settings.toml"));
}
