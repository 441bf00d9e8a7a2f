//! Commands besides `learn` that are killed at any moment: what they wrote is whole or absent.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::crash;
use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::resume::unbroken;
use crate::run::{Run, Running};

/// The time that a command takes.
fn time(command: Command) -> Duration {
    let start = Instant::now();
    Run::of(command).succeeds();
    start.elapsed()
}

/// The moments at which a command is killed that takes so long.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    crash::moments(whole).take(crash::kills(5))
}

/// What has the name of a result is whole, and the same command again writes all.
#[test]
fn exports_are_whole_or_absent() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    let export = |out: &str| {
        let mut command = project.command(&["export", "bank", "--overwrite", "--out", out]);
        for format in ["kohya", "diffusers", "peft", "merged", "single-file"] {
            command.args(["--format", format]);
        }
        command.arg("--model").arg(&project.model);
        command
    };
    let files = |out: &str| Files::read(&project.path(out));
    let took = time(export("whole"));
    let whole = files("whole");
    let mut killed = false;
    for (number, moment) in moments(took).enumerate() {
        let out = format!("out-{number}");
        killed |= Running::start(export(&out)).kill_after(moment);
        let (written, mut results) = (files(&out), Files::default());
        for name in written.names().filter(|name| whole.get(name).is_some()) {
            results.insert(&name, written.bytes(&name));
        }
        results.assert_kept_in(&whole);
        Run::of(export(&out)).succeeds();
        whole.assert_kept_in(&files(&out));
    }
    assert!(killed, "every run ended before");
}

/// The concept is in the bank or not, and then it can be imported.
#[test]
fn imports_are_done_or_not() {
    let adapter = fixture("adapters").join("pytorch_lora_weights.safetensors");
    let import = |project: &Project| {
        let mut command = project.command(&["import", adapter.to_str().unwrap(), "--bank", "bank"]);
        command.args(["--class", "wizard", "--id", "potter", "--trigger", "a red plushie"]);
        command.arg("--model").arg(&project.model);
        command
    };
    let whole = Project::new(&[]);
    let mut killed = false;
    for moment in moments(time(import(&whole))) {
        let project = Project::new(&[]);
        killed |= Running::start(import(&project)).kill_after(moment);
        let begun = project.path("bank/bank.json").exists();
        if begun {
            project.run(&["bank", "verify", "bank"]).succeeds();
        }
        if !begun || project.ids().is_empty() {
            Run::of(import(&project)).succeeds();
        }
        project.run(&["bank", "verify", "bank"]).succeeds();
        // The cache of directions is made again where it is missing.
        let (whole, bank) = (whole.bank(), project.bank());
        whole.under("concepts").assert_kept_in(&bank.under("concepts"));
        assert_eq!(whole.bytes("bank.json"), bank.bytes("bank.json"));
    }
    assert!(killed, "every run ended before");
}

/// Banks that `learn --keep` keeps are whole, and with event files and previews a run goes on as well.
#[test]
fn kept_banks_are_whole_or_absent() {
    let options = "--steps 4 --save-every 2 --preview-every 1 --keep kept --tensorboard events";
    let whole = Project::new(&["cat"]);
    let mut killed = false;
    for moment in moments(time(whole.learn_command("photos", options))) {
        let project = Project::new(&["cat"]);
        killed |= project.start_learn(options).kill_after(moment);
        for entry in fs::read_dir(project.path("kept/cat")).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".partial") {
                project.run(&["bank", "verify", &format!("kept/cat/{name}")]).succeeds();
            }
        }
        if project.path("bank/bank.json").exists() {
            project.learn("photos", &format!("{options} --resume")).succeeds();
            project.bank().assert_same(&whole.bank());
        }
    }
    assert!(killed, "every run ended before");
}
