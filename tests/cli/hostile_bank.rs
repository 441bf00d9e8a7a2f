//! Banks made by a stranger who knows the format: what each is refused with. Nothing panics, hangs, takes
//! memory on a file's word, or touches anything outside of the bank.
//!
//! `cargo test --release -p seqlora --test cli hostile_bank -- --nocapture` prints the sentences.

use std::fs;
use std::path::Path;
use std::process::Command;

use burn_seqlora::files::sha256;
use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::images::write_photos;
use crate::run::Run;
use crate::stranger::Stranger;

/// What the stranger did, and what the user reads.
type Case = (&'static str, fn(&Stranger), &'static str);

/// 2^62: with a factor of 4 it is 0 in 64 bits.
const HUGE: u64 = 1 << 62;

/// What `bank.json` can say. No command goes on.
const BANKS: [Case; 17] = [
    (
        "an id that leads outside",
        |s| first_id(s, "../../outside"),
        "`../../outside` is not a valid id",
    ),
    ("an id that is a path", |s| first_id(s, "/etc"), "`/etc` is not a valid id"),
    ("an id for a terminal", |s| first_id(s, "\u{1b}[2J"), r"`\u{1b}[2J` is not a valid id"),
    ("an id twice", |s| first_id(s, "DOG"), "`concepts[1]`: `dog` is listed twice"),
    ("a million concepts", million, "`concepts` has 1000000 entries, and at most 65536 are read"),
    ("an endless list", |s| large(s, "bank.json", 40), "bank.json has more than 32 MiB"),
    ("a site without inputs", |s| site(s, "inputs", json!(0)), "`sites[3].inputs` is 0"),
    ("a site of 2^62 inputs", |s| site(s, "inputs", json!(HUGE)), "between 1 and 65536"),
    ("a site for a terminal", |s| site(s, "name", json!("\u{1b}c")), r"control character '\u{1b}'"),
    ("a site twice", twice, "`sites[3].name`: `"),
    (
        "a model for a terminal",
        |s| s.bank(|b| b["base"]["name"] = json!("\u{7}")),
        "`base.name` contains",
    ),
    (
        "embeddings of width 2^62",
        |s| s.bank(|b| b["base"]["token_width"] = json!(HUGE)),
        "`base.token_width` is",
    ),
    ("a key that we do not know", |s| s.bank(|b| b["run"] = json!("rm")), "unknown field `run`"),
    ("no version", |s| s.bank(|b| b["version"] = json!(null)), "`version` is missing"),
    ("a version in words", |s| s.bank(|b| b["version"] = json!("two")), "`version` is no number"),
    ("a pipe", |s| s.pipe("bank.json"), "bank.json is not a regular file"),
    (
        "an endless device",
        |s| s.link("bank.json", Path::new("/dev/zero")),
        "bank.json is not a regular file",
    ),
];

/// What the files of the concept `dog` can say, with right digests. The others stay usable.
const CONCEPTS: [Case; 15] = [
    (
        "another id",
        |s| dog(s, "/id", json!("cat")),
        "`id` is `cat`, and its folder belongs to `dog`",
    ),
    (
        "a class for a terminal",
        |s| dog(s, "/class_word", json!("\u{1b}[2J")),
        "`class_word` contains the control",
    ),
    (
        "2^62 words",
        |s| dog(s, "/words", json!(HUGE)),
        "`words` is 4611686018427387904, and must be between",
    ),
    (
        "2^62 embeddings",
        |s| dog(s, "/embeddings_per_word", json!(HUGE)),
        "`embeddings_per_word` is 46116",
    ),
    (
        "a rank of 2^62",
        |s| dog_site(s, "rank", json!(HUGE)),
        "is 4611686018427387904, and must be between 1",
    ),
    ("a rank of 0", |s| dog_site(s, "rank", json!(0)), "and must be between 1"),
    ("other inputs", |s| dog_site(s, "inputs", json!(7)), "of 7 inputs"),
    (
        "a digest missing",
        |s| s.concept("dog", |c| c["digests"].as_object_mut().expect("digests").clear()),
        "`digests` has no entry for adapter",
    ),
    ("text for numbers", |s| dog(s, "/digests", json!(7)), "invalid type"),
    (
        "a million brackets",
        |s| large(s, "concepts/dog/concept.json", 20),
        "concept.json has more than 16 MiB",
    ),
    (
        "embeddings that are not finite",
        |s| s.tensors("dog", "tokens.safetensors", |t| nan(t, "embeddings")),
        "`embeddings` holds numbers that are not finite",
    ),
    (
        "factors that are not finite",
        |s| s.tensors("dog", "adapter.safetensors", |t| nan(t, "lora_up")),
        "holds numbers that are not finite",
    ),
    (
        "factors of another rank",
        |s| s.tensors("dog", "adapter.safetensors", thin),
        "do not fit the layer",
    ),
    (
        "a pipe for an adapter",
        |s| s.pipe("concepts/dog/adapter.safetensors"),
        "adapter.safetensors is not a regular file",
    ),
    (
        "an endless device for tokens",
        |s| s.link("concepts/dog/tokens.safetensors", Path::new("/dev/zero")),
        "tokens.safetensors is not a regular file",
    ),
];

/// Links out of the bank. No command writes through them.
const LINKS: [&str; 7] = [
    ".lock",
    "concepts",
    "basis",
    "reserved",
    "concepts/dog",
    "concepts/dog/checkpoint",
    "concepts/fox",
];

fn first_id(stranger: &Stranger, id: &str) {
    stranger.bank(|bank| bank["concepts"][0] = json!(id));
}

fn million(stranger: &Stranger) {
    stranger.bank(|bank| bank["concepts"] = (0..1_000_000).map(|i| json!(i.to_string())).collect());
}

/// So many MiB of a list in the place of a file.
fn large(stranger: &Stranger, file: &str, mib: usize) {
    fs::write(stranger.path(file), format!("[{}1]", "1,".repeat(mib << 19))).unwrap();
}

fn site(stranger: &Stranger, key: &str, value: Value) {
    stranger.bank(|bank| bank["sites"][3][key] = value);
}

fn twice(stranger: &Stranger) {
    stranger.bank(|bank| bank["sites"][3]["name"] = bank["sites"][2]["name"].clone());
}

fn dog(stranger: &Stranger, pointer: &str, value: Value) {
    stranger.concept("dog", |record| *record.pointer_mut(pointer).expect("a key") = value);
}

fn dog_site(stranger: &Stranger, key: &str, value: Value) {
    stranger.concept("dog", |record| {
        let sites = record["sites"].as_object_mut().expect("sites");
        sites.values_mut().next().expect("a site")[key] = value;
    });
}

fn nan(tensors: &mut crate::weights::Weights, name: &str) {
    let found = tensors.iter_mut().find(|(key, _)| key.ends_with(name));
    found.expect("a tensor").1.2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
}

fn thin(tensors: &mut crate::weights::Weights) {
    let (_, tensor) = tensors.iter_mut().find(|(key, _)| key.ends_with("lora_up")).expect("A");
    let outputs = tensor.1[0];
    tensor.1[1] = 1;
    tensor.2.truncate(4 * outputs);
}

/// A bank of three, photos of a fox to be learnt, and a folder that is nobody's business.
fn project() -> Project {
    let project = Project::with_bank();
    write_photos(&project.path("photos/fox"), "fox");
    for name in ["checkpoint/state.json", "dog/concept.json", "victim"] {
        project.write(&format!("outside/{name}"), "of the user");
    }
    project
}

/// Runs a command that must not take long: 124 if it does.
fn within_20_seconds(command: &Command) -> Run {
    let mut limited = Command::new("timeout");
    limited.arg("20").arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().expect("the project's"));
    Run::of(limited)
}

fn inspect(project: &Project) -> Run {
    within_20_seconds(&project.command(&["inspect", "bank"]))
}

/// # Panics
/// If something outside of the bank is not as it was.
#[track_caller]
fn assert_untouched(project: &Project) {
    let outside = Files::read(&project.path("outside"));
    assert_eq!(
        outside.names().collect::<Vec<_>>(),
        ["checkpoint/state.json", "dog/concept.json", "victim"]
    );
    assert!(outside.names().all(|name| outside.bytes(&name) == b"of the user"));
}

fn print(what: &str, run: &Run) {
    println!("{what}\n    {}", run.stderr.trim().replace('\n', "\n    "));
}

#[test]
fn a_hostile_list_of_concepts_and_layers_is_refused() {
    let project = project();
    let bank = project.bank();
    for (what, change, text) in BANKS {
        change(&Stranger::new(&project));
        let run = inspect(&project).fails(1, &[text]);
        print(what, &run);
        within_20_seconds(&project.learn_command("photos/fox", "")).fails(1, &[text]);
        let generate = project.generate_command("a <cat>", "--bank bank");
        within_20_seconds(&generate).fails(1, &[text]);
        assert_untouched(&project);
        fs::remove_dir_all(project.path("bank")).unwrap();
        bank.write(&project.path("bank"));
    }
}

#[test]
fn hostile_files_of_a_concept_are_refused_and_the_others_can_be_used() {
    let project = project();
    let bank = project.bank();
    for (number, (what, change, text)) in CONCEPTS.into_iter().enumerate() {
        change(&Stranger::new(&project));
        let run = inspect(&project);
        assert!(run.stdout.contains(text), "`{text}` is not in:\n{}", run.stdout);
        let run = run.fails(1, &["1 of 3 concepts", "dog; the others can be used"]);
        let said = run.stdout.lines().find(|line| line.starts_with("dog: ")).expect("a line");
        println!("{what}\n    {said}");
        let generate = |options: &str| project.generate_command("a photo", options);
        let damaged = within_20_seconds(&generate("--bank bank --concept dog"));
        damaged.fails(1, &["concept `dog` cannot be used", text, "--concept chooses"]);
        // It takes a second, and all cases go the same way.
        if number % 5 == 0 {
            within_20_seconds(&generate("--bank bank --concept cat")).succeeds();
        }
        fs::remove_dir_all(project.path("bank")).unwrap();
        bank.write(&project.path("bank"));
    }
}

#[test]
fn nothing_is_written_or_removed_through_links() {
    let project = project();
    let bank = project.bank();
    for name in LINKS {
        let target = if name == ".lock" { "outside/victim" } else { "outside" };
        let stranger = Stranger::new(&project);
        stranger.link(name, &project.path(target));
        let run = within_20_seconds(&project.learn_command("photos/fox", ""));
        let run = run.fails(1, &[&format!("bank/{name} is a symbolic link"), "remove it"]);
        print(name, &run);
        assert_untouched(&project);
        assert!(stranger.path(name).is_symlink());
        fs::remove_dir_all(project.path("bank")).unwrap();
        bank.write(&project.path("bank"));
    }
}

/// Layers are found by name: two of the same sizes in another order are the same bank.
#[test]
fn swapped_layers_change_no_image() {
    let project = Project::with_bank();
    let before = project.image("a <cat>", "--concept cat");
    Stranger::new(&project).bank(|bank| {
        let sites = bank["sites"].as_array_mut().expect("a list");
        let cross = |site: &Value, end: &str| {
            let name = site["name"].as_str().expect("a name");
            name.contains("attn2") && name.ends_with(end)
        };
        let [key, value] = ["to_k", "to_v"]
            .map(|end| sites.iter().position(|site| cross(site, end)).expect("such a layer"));
        assert_eq!(sites[key]["outputs"], sites[value]["outputs"]);
        sites.swap(key, value);
    });
    assert!(before == project.image("a <cat>", "--concept cat"), "another image");
}

/// The records of version 1 have ranks by position.
#[test]
fn hostile_records_of_version_1_are_refused() {
    let cases: [(&str, Value, &str); 5] = [
        ("/ranks", json!([1]), "`ranks` has 1 entries for "),
        ("/ranks/4", json!(HUGE), "is 4611686018427387904, and must be between 1"),
        ("/words", json!(HUGE), "`words` is 4611686018427387904"),
        ("/rows_per_word", json!(HUGE), "`embeddings_per_word` is 4611686018427387904"),
        ("/id", json!("../../outside"), "`../../outside` is not a valid id"),
    ];
    for (pointer, value, text) in cases {
        let project = Project::new(&[]);
        Files::read(&fixture("bank-v1")).write(&project.path("bank"));
        let change = |record: &mut Value| *record.pointer_mut(pointer).expect("a key") = value;
        Stranger::new(&project).concept("cat", change);
        let run = inspect(&project).fails(1, &["1 of 1 concepts"]);
        assert!(run.stdout.contains(text), "`{text}` is not in:\n{}", run.stdout);
        let generate = project.generate_command("a <cat>", "--bank bank");
        within_20_seconds(&generate).fails(1, &[text]);
    }
}

/// Two concepts that share a direction although both say that they do not.
#[test]
fn an_overlap_that_should_not_be_is_told() {
    let project = Project::with_bank();
    let stranger = Stranger::new(&project);
    let cat = crate::weights::read(&stranger.path("concepts/cat/adapter.safetensors"));
    stranger.tensors("dog", "adapter.safetensors", |dog| *dog = cat);
    let run = inspect(&project).fails(1, &["1 of 3 concepts", ": dog;"]);
    assert!(run.stdout.contains("dog: its overlap with `cat` is 1.0e0"), "{}", run.stdout);

    stranger.tensors("dog", "adapter.safetensors", |dog| {
        let down = dog.iter_mut().filter(|(name, _)| name.ends_with("lora_down"));
        down.for_each(|(_, (_, _, bytes))| bytes.fill(0));
    });
    let run = inspect(&project).fails(1, &[": dog, mug;"]);
    assert!(run.stdout.contains("its overlap with `cat` is no number"), "{}", run.stdout);
    assert!(run.stdout.contains("largest overlap  NaN"), "{}", run.stdout);
}

/// Caches of directions with digests of their own, that hold no numbers or others than the adapters.
#[test]
fn directions_that_the_adapters_do_not_have_are_computed_again() {
    let project = Project::with_bank();
    for (photo, number) in [("fox", f32::NAN), ("owl", 0.5)] {
        forge_directions(&project, number);
        write_photos(&project.path(photo).join(photo), photo);
        project.learn(photo, "--steps 1").succeeds();
        inspect(&project).succeeds();
    }
}

/// Fills the cache of directions with a number, under the digests that it then has.
fn forge_directions(project: &Project, number: f32) {
    let path = |name: &str| project.path("bank").join(name);
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap() };
    let (bank, mut index, mut columns) = (read("bank.json"), read("basis/index.json"), Vec::new());
    let size =
        |(site, rank): (&Value, &Value)| site["inputs"].as_u64().unwrap() * rank.as_u64().unwrap();
    for entry in index["concepts"].as_array_mut().unwrap() {
        let sites = bank["sites"].as_array().unwrap().iter();
        let numbers: u64 = sites.zip(entry["ranks"].as_array().unwrap()).map(size).sum();
        let block = number.to_le_bytes().repeat(numbers as usize);
        entry["sha256"] = sha256(&block).into();
        columns.extend(block);
    }
    assert_eq!(fs::read(path("basis/columns.f32")).unwrap().len(), columns.len());
    fs::write(path("basis/columns.f32"), columns).unwrap();
    fs::write(path("basis/index.json"), index.to_string()).unwrap();
}
