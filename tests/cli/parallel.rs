//! Workers that know nothing of each other: `learn --subspace` and `--shard`, `bank merge`, `generate --shard`.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::files::Files;
use crate::harness::Project;
use crate::run::Run;

const FOUR: [&str; 4] = ["cat", "dog", "fox", "mug"];

/// `seqlora learn photos` into this bank.
fn learn(project: &Project, bank: &str, options: &str) -> Run {
    let mut command = project.command(&["learn", "photos", "--bank", bank, "--model"]);
    command.arg(&project.model).args(["--config", "settings.toml"]);
    command.args(options.split_whitespace());
    Run::of(command)
}

fn merge(project: &Project, banks: &[&str], out: &str) -> Run {
    project.run(&[&["bank", "merge"], banks, &["--out", out, "--json"]].concat())
}

/// Four concepts, learnt by two workers.
fn two_workers() -> Project {
    let project = Project::new(&FOUR);
    for part in ["1/2", "2/2"] {
        learn(&project, &format!("bank-{}", &part[..1]), &format!("--shard {part}")).succeeds();
    }
    project
}

/// What two workers learnt is what one machine learns in both subspaces, byte for byte, in whatever order the banks
/// are merged and with whatever number of threads.
#[test]
fn merged_banks_are_what_one_machine_learns() {
    let project = two_workers();
    let merged = merge(&project, &["bank-2", "bank-1"], "merged").succeeds().json();
    assert_eq!(merged["concepts"], json!(["cat", "fox", "dog", "mug"]));
    assert!(merged["max_overlap"].as_f64().expect("a number") < 1e-6, "{merged}");
    merge(&project, &["bank-1", "bank-2"], "again").succeeds();
    for part in ["1/2", "2/2"] {
        let mut command = project.command(&["learn", "photos", "--bank", "alone", "--model"]);
        command.arg(&project.model).args(["--config", "settings.toml", "--shard", part]);
        command.env("RAYON_NUM_THREADS", "1");
        Run::of(command).succeeds();
    }
    let files = |bank: &str| Files::read(&project.path(bank));
    files("merged").assert_same(&files("again"));
    files("merged").assert_same(&files("alone"));
    project.run(&["bank", "verify", "merged"]).succeeds();
    project.generate("a <dog> and a <cat>", "--bank merged").succeeds();
    // Whoever goes on without a subspace keeps away from all of them.
    crate::images::write_photos(&project.path("more/owl"), "owl");
    let mut command = project.command(&["learn", "more", "--bank", "merged", "--model"]);
    command.arg(&project.model).args(["--config", "settings.toml"]);
    Run::of(command).succeeds();
    project.run(&["bank", "verify", "merged"]).succeeds();
}

/// A worker that dies is run again, and ends with the same bytes.
#[test]
fn a_worker_resumes() {
    let project = Project::new(&FOUR);
    let options = "--shard 1/2 --save-every 2 --steps 12";
    learn(&project, "whole", options).succeeds();
    let mut command = project.command(&["learn", "photos", "--bank", "broken", "--model"]);
    command.arg(&project.model).args(["--config", "settings.toml"]);
    command.args(options.split_whitespace());
    let mut run = crate::run::Running::start(command);
    run.wait_for(&project.path("broken/concepts/cat/checkpoint/state.json"));
    run.kill();
    learn(&project, "broken", &format!("{options} --resume")).succeeds();
    Files::read(&project.path("broken")).assert_same(&Files::read(&project.path("whole")));
}

/// A layer of 32 inputs has 16 directions in each of two subspaces.
#[test]
fn each_worker_has_its_share_of_the_capacity() {
    let project = Project::new(&["cat", "dog"]);
    let options = "--steps 1 --rank 12 --sites cross-attention --subspace 1/2";
    let plan = learn(&project, "bank", &format!("{options} --plan --json")).succeeds().json();
    learn(&project, "bank", &format!("{options} --strict-capacity"))
        .fails(1, &["no capacity left"]);
    assert!(!plan["concepts"].as_array().expect("a list").is_empty());
}

#[test]
fn banks_that_do_not_go_together_are_refused() {
    let project = two_workers();
    let project_files = || Files::read(&project.path("."));
    learn(&project, "same-block", "--subspace 1/2 --id owl").fails(2, &["--id"]);
    for thing in ["owl", "cat"] {
        crate::images::write_photos(&project.path("single").join(thing), thing);
    }
    let single = |bank: &str, thing: &str, options: &str| {
        let photos = format!("single/{thing}");
        let mut command = project.command(&["learn", &photos, "--bank", bank, "--model"]);
        command.arg(&project.model).args(["--config", "settings.toml"]);
        command.args(options.split_whitespace());
        Run::of(command).succeeds();
    };
    single("same-block", "owl", "--subspace 1/2");
    single("same-id", "cat", "--subspace 2/2");
    single("other-family", "owl", "--subspace 1/3");
    single("whole-space", "owl", "");
    single("other-method", "owl", "--method alternating --subspace 2/2");
    project.write("seed.toml", fs::read(project.path("settings.toml")).unwrap());
    damage(&project.path("bank-2"), &project.path("damaged"));
    let before = project_files();
    for (banks, text) in [
        (&["bank-1"][..], "two banks or more"),
        (
            &["bank-1", "same-block"],
            "`cat` and `owl` of different banks were both learnt in the subspace 1/2",
        ),
        (&["bank-1", "same-id"], "both hold a concept `cat`"),
        (&["bank-1", "other-family"], "blocks of different families overlap"),
        (&["bank-1", "whole-space"], "`owl` of whole-space was not learnt in a subspace"),
        (&["bank-1", "other-method"], "holds concepts learnt with"),
        (&["bank-1", "damaged"], "damaged is damaged: `dog`"),
        (&["bank-1", "nowhere"], "nowhere"),
    ] {
        merge(&project, banks, "merged").fails(1, &[text]);
        project_files().assert_same(&before);
    }
    merge(&project, &["bank-1", "bank-2"], "bank-1").fails(1, &["bank-1 is there already"]);
    project_files().assert_same(&before);
}

/// A copy of a bank with one byte of an adapter changed.
fn damage(bank: &Path, copy: &Path) {
    Files::read(bank).write(copy);
    let file = copy.join("concepts/dog/adapter.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
}

/// Parts share a folder, and what is there is not made again.
#[test]
fn parts_of_images_make_the_whole() {
    let project = Project::new(&[]);
    let options = "--seeds 1,2,3 --num 2";
    project.generate("a cat", &format!("{options} --out whole")).succeeds();
    for part in ["2/2", "1/2", "1/2"] {
        let run =
            project.generate("a cat", &format!("{options} --out parts --shard {part} --json"));
        let images = run.succeeds().json()["images"].as_array().expect("a list").len();
        assert!([3, 0].contains(&images), "{images}");
    }
    Files::read(&project.path("parts")).assert_same(&Files::read(&project.path("whole")));
    let other = project.generate("a dog", &format!("{options} --out parts --shard 1/2"));
    other.fails(1, &["was made with other settings"]);
    project.generate("a cat", "--out parts --shard auto").fails(2, &["SLURM_ARRAY_TASK_ID"]);
}
