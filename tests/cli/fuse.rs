//! `seqlora fuse`, and images with what it made.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use crate::harness::{Learnt, Project, THREE};
use crate::run::Run;
#[cfg(unix)]
use crate::run::Running;
use crate::weights::read;

/// `seqlora fuse` of the bank into `fused.safetensors`, in the place of an earlier one.
fn fuse(project: &Project, options: &str) -> Run {
    let _ = fs::remove_file(project.path("fused.safetensors"));
    Run::of(command(project, options))
}

fn command(project: &Project, options: &str) -> Command {
    let mut command = project.command(&["fuse", "--bank", "bank", "--model"]);
    let model: OsString = crate::harness::fixture("tiny-sd1").into();
    command.arg(model).args(["--out", "fused.safetensors", "--json"]);
    command.args(options.split_whitespace());
    command
}

/// The pixels of an image of two concepts.
fn pixels(project: &Project, options: &str) -> Vec<u8> {
    project.generate("a <mug> near a <cat>", &format!("--bank bank {options}")).succeeds();
    project.pixels()
}

/// How much two images differ, per colour.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / a.len() as f64
}

/// A sum is what a composition does without fusing; its strengths are those of the fusion.
#[test]
fn a_fused_sum_is_the_composition() {
    let project = Project::with_bank();
    let composed = pixels(&project, "--concept mug=0.5 --concept cat=2");
    let run = fuse(&project, "--method sum --concept mug=0.5 --concept cat=2").succeeds().json();
    assert_eq!((&run["dense_layers"], &run["method"]), (&0.into(), &"sum".into()));
    assert_eq!(run["concepts"][1]["scale"], 2.0);
    let fused = pixels(&project, "--concept mug --concept cat --fused fused.safetensors");
    assert!(difference(&composed, &fused) < 0.5);
    let plain = pixels(&project, "--concept mug --concept cat");
    assert!(difference(&composed, &plain) > difference(&composed, &fused));
    let strong = "--bank bank --concept mug=2 --concept cat --fused fused.safetensors";
    project.generate("a <mug>", strong).fails(2, &["--concept mug=2", "seqlora fuse"]);
}

/// Fusions that need inputs record them, leave nothing behind and give weights that images can be made with.
#[test]
fn inputs_are_recorded_where_they_are_needed() {
    let project = Project::with_bank();
    for method in ["least-squares", "mix-of-show", "loraclr"] {
        let run = fuse(&project, &format!("--method {method} --steps 2")).succeeds().json();
        assert_eq!(run["dense_layers"], run["layers"], "{method}");
        assert!(!project.path("fused.safetensors.unfinished").exists());
        pixels(&project, "--fused fused.safetensors");
    }
}

/// A fusion that is interrupted, and one whose work two machines share, give the same file as an unbroken one.
#[cfg(unix)]
#[test]
fn an_unfinished_fusion_goes_on() {
    let project = Project::with_bank();
    let (options, unfinished) =
        ("--method mix-of-show --steps 40", project.path("fused.safetensors.unfinished"));
    let fused = || {
        assert!(!unfinished.exists());
        let bytes = fs::read(project.path("fused.safetensors")).unwrap();
        fs::remove_file(project.path("fused.safetensors")).unwrap();
        bytes
    };
    fuse(&project, options).succeeds();
    let whole = fused();

    let mut running = Running::start(command(&project, options));
    running.wait_for(&unfinished.join("fusion.json"));
    running.interrupt().fails(130, &["the same command goes on", "fused.safetensors.unfinished"]);
    fuse(&project, "--method loraclr")
        .fails(1, &["fused.safetensors.unfinished", "remove it to begin anew"]);
    let again = fuse(&project, options).succeeds();
    assert!(again.stderr.contains("fused.safetensors.unfinished"), "{}", again.stderr);
    assert!(fused() == whole);

    let part = |part| fuse(&project, &format!("{options} --shard {part}/2")).succeeds().json();
    assert_eq!(part(1)["waiting_for"], "text-encoder");
    let mut rounds = 0;
    while [2, 1].map(part).iter().any(|part| !part["waiting_for"].is_null()) {
        rounds += 1;
        assert!(rounds < 7, "it does not end");
    }
    assert!(!project.path("fused.safetensors").exists());
    fuse(&project, options).succeeds();
    assert!(fused() == whole);
}

/// Nothing is written through a folder that is a link.
#[cfg(unix)]
#[test]
fn links_in_place_of_the_unfinished_are_refused() {
    let project = Project::with_bank();
    let (victim, unfinished) =
        (project.path("victim"), project.path("fused.safetensors.unfinished"));
    fs::create_dir(&victim).unwrap();
    for link in [unfinished.clone(), unfinished.join("text-encoder")] {
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        fuse(&project, "--method sum").fails(1, &["fused.safetensors.unfinished"]);
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        fs::remove_file(link).unwrap();
    }
}

/// What was fused belongs to a model and to the concepts as they were.
#[test]
fn fused_files_belong_to_their_concepts() {
    let project = Project::new(&THREE);
    Learnt::three().bank.write(&project.path("bank"));
    let file = project.path("fused.safetensors");
    let generate = |prompt: &str, options: &str| {
        project.generate(prompt, &format!("--bank bank --fused fused.safetensors {options}"))
    };
    fuse(&project, "--method sum --concept mug --concept cat").succeeds();
    generate("a <mug>", "--concept mug").succeeds();
    generate("a <dog>", "--concept dog").fails(1, &["fused.safetensors", "<dog>", "fuse again"]);
    // The mug is trained further, and is another one.
    project.learn("photos", "--continue mug --steps 1").succeeds();
    let texts = ["fused.safetensors", "<mug> was replaced or trained further", "fuse again"];
    generate("a <mug>", "--concept mug").fails(1, &texts);

    fuse(&project, "--method sum").succeeds();
    generate("a <mug>", "").succeeds();
    let bytes = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
    // Its digits are changed, so that the header is as long as before.
    let at = text.find(r#"\"base\":\""#).expect("it names its model") + r#"\"base\":\""#.len();
    let other: String =
        text[at..at + 32].chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    let changed = [&text[..at], &other, &text[at + 32..]].concat();
    fs::write(&file, [&bytes[..8], changed.as_bytes(), &bytes[header..]].concat()).unwrap();
    generate("a <mug>", "").fails(1, &["a model with the fingerprint", &other, "fuse again"]);
}

/// A rank makes one LoRA of a fusion, and tells what that loses.
#[test]
fn a_rank_makes_one_lora() {
    let project = Project::with_bank();
    let lost = |rank: usize| {
        let options = format!("--method sum --rank {rank}");
        let run = fuse(&project, &options).succeeds().json();
        assert_eq!((&run["rank"], &run["dense_layers"]), (&rank.into(), &0.into()));
        run["relative_error_of_rank"].as_f64().unwrap()
    };
    // Three concepts of rank 2.
    let losses = [1, 2, 4, 6].map(lost);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert!(losses[3] == 0.0 && losses[0] < 1.0, "{losses:?}");
    lost(1);
    let weights = read(&project.path("fused.safetensors"));
    assert!(weights.keys().all(|name| name.ends_with(".lora_up") || name.ends_with(".lora_down")));
}

#[test]
fn what_cannot_be_fused_is_refused_before_the_model_is_loaded() {
    let project = Project::with_bank();
    fuse(&project, "--method median").fails(2, &["median", "mix-of-show"]);
    fuse(&project, "--method sum --concept bird").fails(1, &["bird"]);
    fuse(&project, "--method sum --rank 0").fails(2, &["--rank"]);
    fuse(&project, "--method sum --shard 1/2").fails(2, &["--shard", "sum needs no inputs"]);
    assert!(!project.path("fused.safetensors").exists());
    project.write("fused.safetensors", "mine");
    let texts = ["--out fused.safetensors exists already", "choose another file"];
    for options in ["--method sum", "--method mix-of-show --shard 1/2"] {
        Run::of(command(&project, options)).fails(2, &texts);
    }
    assert_eq!(fs::read_to_string(project.path("fused.safetensors")).unwrap(), "mine");
    assert!(!project.path("fused.safetensors.unfinished").exists());
}
