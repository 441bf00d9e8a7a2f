//! The built-in model: where it is found, and the warnings about its limits.

use std::process::Command;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;

/// A command that uses a folder as the built-in model.
pub fn with_builtin(mut command: Command, folder: impl AsRef<std::ffi::OsStr>) -> Command {
    command.env("SEQLORA_BUILTIN", folder);
    command
}

fn generate(project: &Project, model: &str, prompt: &str, options: &str) -> Run {
    let mut command =
        project.command(&["generate", "--steps", "2", "--out", "out", "--model", model]);
    command.args(["--prompt", prompt]).args(options.split_whitespace());
    Run::of(with_builtin(command, fixture("tiny-sd1")))
}

/// Words and sizes that the built-in model was not trained on give a warning. Other prompts and
/// other models give none.
#[test]
fn unknown_words_and_sizes_give_a_warning() {
    let project = Project::new(&[]);
    let options = "--negative ugly --size 32x48 --region 0,0,16,16:xylophone";
    let warning = generate(&project, "builtin", "a Zebra on grass", options).succeeds().stderr;
    let unknown = "does not know `ugly`, `xylophone`, `zebra`;";
    assert!(warning.contains(unknown) && warning.contains("32x48"), "{warning}");

    let usual = generate(&project, "builtin", "a photo of a mug on grass", "").succeeds().stderr;
    let folder = fixture("tiny-sd1");
    let other = generate(&project, folder.to_str().unwrap(), "a zebra", "--size 32x48");
    for stderr in [usual, other.succeeds().stderr] {
        assert!(!stderr.contains("warning"), "{stderr}");
    }

    let project = Project::new(&["cat"]);
    project.write("photos/cat/1.txt", "a {} and a xylophone");
    let learn =
        project.command(&["learn", "photos", "--model", "builtin", "--bank", "bank", "--plan"]);
    let warning = Run::of(with_builtin(learn, &folder)).succeeds().stderr;
    assert!(warning.contains("does not know `xylophone`;"), "{warning}");
}

/// The built-in model has its own default guidance, which `--guidance` overrides.
#[test]
fn its_default_guidance_is_its_own() {
    let folder = fixture("tiny-sd1");
    for (model, options, scale) in [
        ("builtin", "", "3"),
        ("builtin", "--guidance 5", "5"),
        (folder.to_str().unwrap(), "", "7.5"),
    ] {
        let project = Project::new(&[]);
        generate(&project, model, "a mug on grass", options).succeeds();
        let image = std::fs::read(project.path("out/00000.png")).unwrap();
        let metadata = String::from_utf8_lossy(&image);
        assert!(metadata.contains(&format!("CFG scale: {scale},")), "{model} {options}");
    }
}

/// A missing or damaged built-in model is an error that names the file and the fix.
#[test]
fn a_missing_or_damaged_model_is_an_error() {
    let project = Project::new(&[]);
    let run = |folder: &str| {
        let command = project
            .command(&["generate", "--model", "builtin", "--prompt", "a mug", "--out", "out"]);
        Run::of(with_builtin(command, folder))
    };
    run("nowhere").fails(1, &["is not installed", "  nowhere", "set SEQLORA_BUILTIN"]);

    Files::read(&fixture("tiny-sd1")).write(&project.path("model"));
    project.write("model/SHA256SUMS", format!("{}  unet/config.json\n", "0".repeat(64)));
    run("model").fails(1, &["model/unet/config.json is damaged", "SHA256SUMS says 0000"]);
    project.write("model/SHA256SUMS", format!("{}  vae/weights.bin\n", "0".repeat(64)));
    run("model").fails(1, &["model/vae/weights.bin", "No such file"]);
}
