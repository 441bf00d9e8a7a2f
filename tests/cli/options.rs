//! Options of `learn` and `generate` that have no file of their own, and names of other programs' options.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::Project;
use crate::run::Run;
use crate::weights::read;

/// `concept.json` after learning a cat with these options.
fn concept(project: &Project, options: &str) -> Value {
    project.learn("photos", &format!("--steps 1 {options}")).succeeds();
    let text = fs::read_to_string(project.path("bank/concepts/cat/concept.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The names of a concept's sites.
fn sites(concept: &Value) -> BTreeSet<String> {
    concept["sites"].as_object().expect("sites by name").keys().cloned().collect()
}

/// `--sites`: keys and values of more and more layers.
#[test]
fn sites_are_chosen() {
    let [cross, attention, all] = ["cross-attention", "attention", "all"].map(|selection| {
        let project = Project::new(&["cat"]);
        sites(&concept(&project, &format!("--sites {selection}")))
    });
    assert!(cross.iter().all(|site| site.contains("attn2") || site.contains("text_encoder")));
    assert!(cross.is_subset(&attention) && cross.len() < attention.len());
    assert!(attention.is_subset(&all) && attention.len() < all.len());
    let project = Project::new(&["cat"]);
    project.learn("photos", "--sites some").fails(2, &["--sites", "`cross-attention`"]);
}

/// `--tokens`: two words with an embedding for each layer, or one word with one.
#[test]
fn token_schemes_are_chosen() {
    for (scheme, words) in [("ed-lora", 2), ("single", 1)] {
        let project = Project::new(&["cat"]);
        let concept = concept(&project, &format!("--tokens {scheme}"));
        assert_eq!(concept["words"], words);
        let each = concept["embeddings_per_word"].as_u64().expect("a number") as usize;
        assert_eq!(each > 1, scheme == "ed-lora");
        let tokens = read(&project.path("bank/concepts/cat/tokens.safetensors"));
        assert_eq!(tokens["embeddings"].1, [words * each, 32]);
        project.image("a <cat>", "");
    }
}

/// `--concepts N` leaves each of N concepts the same share of a layer.
#[test]
fn capacity_is_shared() {
    let ranks = |options: &str| {
        let project = Project::new(&["cat"]);
        project.learn("photos", &format!("--steps 1 --rank 8 {options}")).succeeds();
        let bank = project.inspect();
        let ranks = bank["concepts"][0]["ranks"].as_array().expect("a list").clone();
        let inputs = bank["capacity"].as_array().expect("a list").clone();
        let number = |value: &Value| value.as_u64().expect("a number");
        let inputs = inputs.iter().map(|line| number(&line["inputs"]));
        ranks.iter().map(number).zip(inputs).filter(|(rank, _)| *rank > 0).collect::<Vec<_>>()
    };
    assert!(ranks("").iter().all(|(rank, _)| *rank == 8));
    let shared = ranks("--concepts 6");
    assert!(shared.iter().all(|(rank, inputs)| *rank == 8.min(inputs / 6)), "{shared:?}");
    assert!(shared.iter().any(|(rank, _)| *rank < 8), "{shared:?}");
}

/// What comes out does not depend on the number of threads, to the last bit.
#[test]
fn threads_change_no_byte() {
    let with = |threads: &str| {
        let project = Project::new(&["cat"]);
        let mut learn = project.learn_command("photos", "--steps 2 --outer 2 --inner 2 --batch 2");
        learn.env("RAYON_NUM_THREADS", threads);
        Run::of(learn).succeeds();
        let options = "--bank bank --num 2 --batch 2 --save-latents latents";
        let mut generate = project.generate_command("a <cat> on grass", options);
        generate.env("RAYON_NUM_THREADS", threads);
        Run::of(generate).succeeds();
        let image = fs::read(project.path("out/00001.png")).unwrap();
        (project.bank(), image, fs::read(project.path("latents")).unwrap())
    };
    let (one, two) = (with("1"), with("2"));
    one.0.assert_same(&two.0);
    assert!((one.1, one.2) == (two.1, two.2), "another image with two threads");
}

/// Names that users of kohya's scripts and of diffusers type.
#[test]
fn names_of_other_programs_are_understood() {
    let project = Project::new(&["cat"]);
    let model = crate::harness::fixture("tiny-sd1");
    let mut command = project.command(&["generate", "--prompt", "a mug", "--outdir", "out"]);
    command.arg("--pretrained_model_name_or_path").arg(&model);
    command.args(["--num_inference_steps", "3", "--guidance_scale", "2"]);
    command.args(["--negative_prompt", "a cat", "--images_per_prompt", "2"]);
    Run::of(command).succeeds();
    assert!(project.path("out/00001.png").exists());
    project.learn("photos", "--network_alpha 8").fails(2, &["--network_alpha", "no alpha"]);
    project.learn("photos", "--max_train_steps 1 --lora_rank 2 --mixed_precision bf16").succeeds();
}
