//! How the program is called, and where its output goes.

use std::process::Stdio;

use crate::harness::Project;

/// Every command explains itself.
#[test]
fn help_and_version() {
    let project = Project::new(&[]);
    for command in ["learn", "generate", "inspect", "devices", "demo", "pretrain"] {
        let help = project.run(&[command, "--help"]).succeeds().stdout;
        assert!(help.contains(&format!("Usage: seqlora {command}")), "{help}");
        assert!(help.contains("--device <DEVICE>"), "{help}");
    }
    assert!(project.run(&["--help"]).succeeds().stdout.contains("Commands:"));
    assert!(project.run(&["--version"]).succeeds().stdout.starts_with("seqlora "));
}

/// Wrong usage exits with 2 and says what would be right.
#[test]
fn wrong_usage() {
    let project = Project::new(&["cat"]);
    project.run(&[]).fails(2, &["Usage: seqlora"]);
    project.run(&["unlearn"]).fails(2, &["unlearn"]);
    project.run(&["learn", "photos", "--bank", "bank"]).fails(2, &["--model"]);
    project.learn("photos", "--device tpu").fails(2, &["`tpu`", "wgpu[:N]"]);
    project.learn("photos", "--device cuda:x").fails(2, &["`cuda:x`"]);
    project.learn("photos", "--precision f8").fails(2, &["`f32`, `f16`, `bf16`"]);
    project.run(&["pretrain", "--out", "new", "--precision", "f16"]).fails(1, &["f32 or bf16"]);
    project.learn("photos", "--method sgd").fails(2, &["--method", "seqlora, alternating, lora"]);
    project.write("demo/bank/bank.json", "{}");
    project.run(&["demo", "--out", "demo"]).fails(2, &["demo is not empty and holds no demo"]);
}

/// `-v` names the layers that are trained, and `-q` says nothing of what went well.
#[test]
fn verbosity() {
    let project = Project::new(&["cat"]);
    let layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q: ";
    let plan = |flags: &str| project.learn("photos", &format!("--plan {flags}")).succeeds().stderr;
    assert!(plan("-v").contains(layer));
    let usual = plan("");
    assert!(usual.contains("sites") && !usual.contains(layer));
    assert_eq!(plan("-q"), "");
    project.learn("photos", "-q -v").fails(2, &["cannot be used with"]);
}

/// A device that was not compiled in names the feature that brings it.
#[test]
fn devices_that_are_not_built_in() {
    let project = Project::new(&["cat"]);
    let devices = project.run(&["devices", "--json"]).succeeds().json();
    let built = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))];
    for (number, (name, built)) in built.into_iter().enumerate() {
        assert_eq!(devices["devices"][number + 1]["built"], built, "{name}");
        if !built {
            let text = format!("build it with --features {name}");
            project.learn("photos", &format!("--device {name}")).fails(2, &[&text]);
            project.generate("a mug", &format!("--device {name}:1")).fails(2, &[&text]);
            assert!(!project.path("bank").exists());
        }
    }
}

/// `--quiet` says nothing; `--json` prints one value and nothing else.
#[test]
fn quiet_and_json() {
    let project = Project::with_bank();
    let quiet = project.run(&["inspect", "bank", "--quiet"]).succeeds();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let json = project.run(&["inspect", "bank", "--quiet", "--json"]).succeeds();
    assert_eq!(json.json()["concepts"][0]["id"], "cat");
    let run = project.generate("a <mug>", "--bank bank --json --seed 9").succeeds();
    assert_eq!(run.json()["images"][0]["seed"], 9);
}

/// A reader that has seen enough, as `head`, is no error.
#[test]
fn a_closed_pipe_is_no_error() {
    let project = Project::with_bank();
    let mut command = project.command(&["inspect", "bank", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
}

/// Results that cannot be written are an error; messages that cannot be are not.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written() {
    let project = Project::new(&["cat"]);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut learn = project.learn_command("photos", "--steps 1");
    assert!(learn.stdout(Stdio::null()).stderr(full()).status().unwrap().success());
    let mut inspect = project.command(&["inspect", "bank"]);
    let child = inspect.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
}
