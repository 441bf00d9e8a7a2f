//! Banks with damaged or missing files: `inspect` names them, and everything else goes on.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Project, fixture};
use crate::images::write_photos;
use crate::stranger::Stranger;

/// The files of a concept, and whether an image needs them.
const FILES: [(&str, bool); 5] = [
    ("concept.json", true),
    ("adapter.safetensors", true),
    ("tokens.safetensors", true),
    ("training.json", false),
    ("metrics.jsonl", false),
];

/// The ids of a bank's concepts with problems, and what is said of the first, from `inspect --json`.
#[track_caller]
fn problems(project: &Project) -> (Vec<String>, String) {
    let run = project.run(&["inspect", "bank", "--json"]).fails(1, &["cannot be trusted"]);
    let json = run.json();
    let damaged = |concept: &&Value| concept["problems"] != json!([]);
    let damaged: Vec<&Value> =
        json["concepts"].as_array().expect("a list").iter().filter(damaged).collect();
    let id = |concept: &&Value| concept["id"].as_str().expect("an id").to_string();
    (damaged.iter().map(id).collect(), damaged[0]["problems"].to_string())
}

/// One bit of any file, or a file that is gone.
#[test]
fn damage_to_any_file_of_a_concept_is_found() {
    let project = Project::with_bank();
    for (name, needed) in FILES {
        let file = project.path(&format!("bank/concepts/dog/{name}"));
        let whole = fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        // A digit of a number in a text, the lowest bit of a number in the others.
        let digit = whole.iter().rposition(u8::is_ascii_digit).filter(|_| name.contains(".json"));
        flipped[digit.unwrap_or(whole.len() - 4)] ^= 1;
        for damage in [Some(flipped), None] {
            let said = match &damage {
                Some(bytes) => fs::write(&file, bytes).map(|()| "SHA-256 is not the one in"),
                None => fs::remove_file(&file).map(|()| "cannot read"),
            };
            let (damaged, text) = problems(&project);
            let said = said.unwrap();
            assert_eq!(damaged, ["dog"], "{name}");
            assert!(text.contains(name) && text.contains(said), "{text}");
        }
        let generate =
            |id: &str| project.generate("a photo", &format!("--bank bank --concept {id}"));
        match needed {
            true => drop(generate("dog").fails(1, &["concept `dog` cannot be used", name])),
            false => drop(generate("dog").succeeds()),
        }
        fs::write(&file, whole).unwrap();
    }
    project.generate("a photo", "--bank bank").succeeds();
    project.inspect();
}

/// A concept is learnt beside a damaged one, to which it stays orthogonal: the cache still has its B.
/// Without the cache the way out is told, and it works.
#[test]
fn a_damaged_concept_does_not_lock_out_the_others() {
    let project = Project::with_bank();
    let whole = project.bank();
    for name in ["fox", "owl"] {
        write_photos(&project.path("photos").join(name), name);
    }
    let dog = project.path("bank/concepts/dog");
    fs::remove_dir_all(&dog).unwrap();
    project.generate("<cat> and <mug>", "--bank bank --concept cat --concept mug").succeeds();
    project.generate("<cat>", "--bank bank").fails(1, &["`dog` cannot be used", "leave it out"]);
    let summary = project.learn("photos/fox", "--json").succeeds().json();
    assert!(summary["max_overlap"].as_f64().expect("a number") <= 1e-6, "{summary:#}");
    assert_eq!(problems(&project).0, ["dog"]);

    fs::remove_dir_all(project.path("bank/basis")).unwrap();
    let refused = project.learn("photos/owl", "").fails(
        1,
        &[
            "orthogonal to `dog`, which is damaged",
            "concepts/dog/concept.json",
            "seqlora bank remove bank dog --free-directions",
        ],
    );
    println!("{}", refused.stderr);
    project.run(&["bank", "remove", "bank", "dog", "--free-directions"]).succeeds();
    project.learn("photos/owl", "").succeeds();
    assert_eq!(project.ids(), ["cat", "mug", "fox", "owl"]);

    // With the copy, the concept that was learnt meanwhile is the one that is not orthogonal.
    whole.under("concepts/dog").write(&project.path("bank"));
    let all = json!(["cat", "dog", "mug", "fox", "owl"]);
    Stranger::new(&project).bank(|bank| bank["concepts"] = all);
    let (damaged, text) = problems(&project);
    assert_eq!(damaged, ["owl"]);
    assert!(text.contains("its overlap with `dog` is "), "{text}");
}

/// Another tokenizer would give words other meanings.
#[test]
fn the_tokenizer_belongs_to_a_bank() {
    let project = Project::with_bank().with_own_model();
    let file = project.path("model/tokenizer/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    let [a, b] = ["a</w>", "o</w>"].map(|token| vocabulary[token].clone());
    (vocabulary["a</w>"], vocabulary["o</w>"]) = (b, a);
    project.write("model/tokenizer/tokenizer.json", tokenizer.to_string());
    write_photos(&project.path("photos/fox"), "fox");
    let before = project.bank();
    let runs = [project.generate("<cat>", "--bank bank"), project.learn("photos/fox", "")];
    for run in runs {
        run.fails(1, &["was made for another base model", "tokenizer "]);
    }
    project.bank().assert_same(&before);

    // The same tokenizer in files of another form is the same.
    let names = ["vocab.json", "merges.txt"].map(|name| fixture("tiny-sd1/tokenizer").join(name));
    assert!(names.iter().all(|file| !file.exists()), "this model has tokenizer.json");
    let whole = fs::read(fixture("tiny-sd1/tokenizer/tokenizer.json")).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    project.write("model/tokenizer/vocab.json", whole["model"]["vocab"].to_string());
    let merges = whole["model"]["merges"].as_array().expect("a list").iter();
    let merge = |merge: &Value| match merge.as_array() {
        Some(pair) => pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        None => merge.as_str().expect("a merge").to_string(),
    };
    let lines: Vec<String> = merges.map(merge).collect();
    project.write("model/tokenizer/merges.txt", format!("#version: 0.2\n{}\n", lines.join("\n")));
    fs::remove_file(file).unwrap();
    project.generate("<cat>", "--bank bank --concept cat").succeeds();
}
