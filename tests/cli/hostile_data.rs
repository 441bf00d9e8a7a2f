//! Data sets that strangers made: what they name, what they hold, and what is printed of them.

use std::fs;

use safetensors::tensor::Dtype;

use crate::harness::Project;
#[cfg(unix)]
use crate::images::write_photos;
#[cfg(unix)]
use crate::run::Run;
use crate::weights::{self, Weights};

/// `metadata.jsonl` names files of its folder only.
#[test]
fn metadata_name_no_files_outside() {
    let project = Project::new(&["cat", "dog"]);
    let absolute = project.path("photos/dog/0.png");
    for name in ["../dog/0.png", "./../dog/0.png", absolute.to_str().unwrap()] {
        let line = serde_json::json!({ "file_name": name, "text": "a {}" }).to_string();
        project.write("photos/cat/metadata.jsonl", line);
        let texts = ["metadata.jsonl: line 1", "leads out of the folder"];
        project.learn("photos/cat", "--plan").fails(1, &texts);
    }
}

/// Pipes, which would be waited for without end, are refused wherever a file is expected.
#[cfg(unix)]
#[test]
fn pipes_are_no_files() {
    let pipe = |project: &Project, name: &str| {
        let path = project.path(name);
        let _ = fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    };
    let data = [
        ("photos/cat/1.txt", "photos"),
        ("photos/cat/0_mask.png", "photos"),
        ("photos/cat/metadata.jsonl", "photos/cat"),
        ("photos/prompts_and_classes.txt", "photos"),
        ("list.json", "list.json"),
        ("list.toml", "list.toml"),
    ];
    for (name, path) in data {
        let project = Project::new(&["cat"]);
        pipe(&project, name);
        project.learn(path, "--steps 1").fails(1, &[name, "not a regular file"]);
    }
    let project = Project::new(&["cat"]);
    pipe(&project, "photos/cat/2.png");
    let run = project.learn("photos", "--plan").succeeds();
    assert!(run.stderr.contains("photos/cat/2.png: not a regular file"), "{}", run.stderr);
    pipe(&project, "settings.toml");
    project.learn("photos", "").fails(2, &["settings.toml is not a regular file"]);
}

/// Names cannot steer the terminal, and no name is too long for a table.
#[test]
fn names_cannot_steer_the_terminal() {
    let project = Project::new(&["cat"]);
    project.write(
        "cat.toml",
        "[[concept]]\nid = 'cat'\nclass = \"\\u001b[2Jcat\\u0007\"\nimages = 'photos/cat'",
    );
    let plan = project.learn("cat.toml", "--plan").succeeds();
    assert!(plan.stderr.contains(r"\u{1b}[2Jcat\u{7}") && !plan.stderr.contains('\u{1b}'));

    let name = "\u{1b}]0;title\u{7}".to_string() + &"x".repeat(70_000);
    let tensor = (Dtype::F32, vec![1], vec![0; 4]);
    weights::write(&project.path("long.safetensors"), &Weights::from([(name, tensor)]));
    let table = project.run(&["inspect", "long.safetensors"]).succeeds().stdout;
    assert!(table.contains(r"\u{1b}]0;title\u{7}xxx") && !table.contains('\u{1b}'), "{table}");
}

/// Nor can paths, in messages and in results.
#[cfg(unix)]
#[test]
fn paths_cannot_steer_the_terminal() {
    let project = Project::with_bank();
    let [photos, bank, out] = ["photos", "bank", "out"].map(|name| format!("\u{1b}[2J{name}"));
    fs::rename(project.path("bank"), project.path(&bank)).unwrap();
    write_photos(&project.path(&photos).join("fox"), "fox");
    project.write(&format!("{photos}/fox/\u{1b}c.png"), "no image");
    let model = project.model.to_str().unwrap();
    let shows = |run: Run, paths: &[&str]| {
        let text = run.stdout + &run.stderr;
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for path in paths {
            assert!(text.contains(path), "`{path}` is not in:\n{text}");
        }
    };

    let learn = ["learn", &photos, "--bank", &bank, "--model", model, "--config", "settings.toml"];
    let run = project.run(&[&learn[..], &["--steps", "1"]].concat()).succeeds();
    shows(run, &[r"\u{1b}[2Jphotos", r"\u{1b}[2Jbank", r"fox/\u{1b}c.png: "]);
    let generate =
        ["generate", "--model", model, "--prompt", "a <fox>", "--steps", "1", "--out", &out];
    let run = project.run(&[&generate[..], &["--bank", &bank]].concat()).succeeds();
    shows(run, &[r"\u{1b}[2Jout/00000.png"]);
    let run = project.run(&[&generate[..], &["--bank", &photos]].concat());
    shows(run.fails(1, &[]), &[r"\u{1b}[2Jphotos/bank.json"]);
    let adapter = "concepts/fox/adapter.safetensors";
    fs::remove_file(project.path(&bank).join(adapter)).unwrap();
    let run = project.run(&["inspect", &bank]).fails(1, &[r"concepts in \u{1b}[2Jbank cannot be"]);
    shows(run, &[&format!(r"cannot read \u{{1b}}[2Jbank/{adapter}")]);
}

/// Texts that are too long, and keys that would do nothing, are named.
#[test]
fn manifests_are_checked() {
    let project = Project::new(&["cat"]);
    let concept = "[[concept]]\nid = 'cat'\nimages = 'photos/cat'\n";
    let long = format!("templates = ['{{}} {}']", "x".repeat(70_000));
    let class = format!("class = '{}'", "x".repeat(300));
    let cases = [
        ("repeats = 10", "concept[0].repeats: would have no effect"),
        ("prompts = 'prompts.txt'", "concept[0].prompts: would have no effect"),
        (&*long, "a text of 70003 bytes"),
        (&*class, "it has 300 bytes"),
    ];
    for (line, text) in cases {
        project.write("cat.toml", format!("{concept}{line}\n"));
        project.learn("cat.toml", "--plan").fails(1, &["cat.toml", text]);
    }
}

/// `10_dog6 dog` means to kohya's scripts: ten repeats of dog6, which is a dog.
#[test]
fn kohya_folders_are_read_as_kohya_means_them() {
    let project = Project::new(&["10_dog6 dog"]);
    for path in ["photos", "photos/10_dog6 dog"] {
        let plan = project.learn(path, "--plan --json").succeeds().json();
        let concept = &plan["concepts"][0];
        assert_eq!((&concept["id"], &concept["class"]), (&"dog6-dog".into(), &"dog".into()));
    }
}
