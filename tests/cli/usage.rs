//! How the program is called, and where its output goes.

use std::process::Stdio;

use crate::harness::Project;

/// Every command explains itself.
#[test]
fn help_and_version() {
    let project = Project::new(&[]);
    for command in [
        "learn", "generate", "evaluate", "fuse", "export", "import", "inspect", "audit", "bank",
        "devices", "demo", "pretrain",
    ] {
        let help = project.run(&[command, "--help"]).succeeds().stdout;
        assert!(help.contains(&format!("Usage: seqlora {command}")), "{help}");
        let computes = !["export", "inspect", "bank", "devices"].contains(&command);
        assert_eq!(help.contains("--device <DEVICE>"), computes, "{help}");
    }
    // Its usual name, by which people look for it.
    let generate = project.run(&["generate", "--help"]).succeeds().stdout;
    assert!(generate.contains("The negative prompt"), "{generate}");
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
    project.run(&["pretrain", "--out", "new", "--precision", "f16"]).fails(2, &["f32 or bf16"]);
    // Commands that compute nothing take no options that say how.
    for options in [
        ["devices", "--device", "cpu"],
        ["devices", "--precision", "f32"],
        ["inspect", "--precision", "f32"],
        ["inspect", "--seed", "1"],
    ] {
        project.run(&options).fails(2, &["unexpected argument", options[1]]);
    }
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
    let cpu = &devices["devices"][0];
    assert!(cpu["device"] == "cpu" && cpu["name"].as_str().is_some_and(|name| !name.is_empty()));
    assert!(cpu["details"].as_str().is_some_and(|text| text.contains(" threads")), "{cpu}");
    let built = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))];
    let missing = devices["not_built_in"].as_array().expect("a list");
    for (name, built) in built {
        assert_eq!(missing.contains(&name.into()), !built, "{name}");
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

/// With `--json`, errors are JSON on standard output too, whoever finds them.
#[test]
fn errors_are_json_if_asked_for() {
    let project = Project::with_bank();
    let run = project.generate("a <bird>", "--bank bank --json").fails(1, &["no concept <bird>"]);
    let error = run.json();
    assert_eq!(error["exit_code"], 1);
    assert!(error["error"].as_str().is_some_and(|text| text.contains("<bird>")), "{error}");
    let run = project.learn("nowhere", "--rank many --json").fails(2, &["--rank"]);
    assert_eq!(run.json()["exit_code"], 2);
    let run =
        project.generate("a mug", "--bank nowhere --json").fails(1, &["`learn` makes a bank"]);
    assert_eq!(run.json()["hint"], "`learn` makes a bank, and --bank chooses one");
    assert_eq!(project.learn("nowhere", "--rank many").fails(2, &["--rank"]).stdout, "");
}

/// Paths may be any bytes; JSON has U+FFFD for what is no UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new(&["cat"]);
    let odd = OsStr::from_bytes(b"odd\xff");
    std::fs::rename(project.path("photos/cat"), project.path("photos").join(odd)).unwrap();
    let data = std::path::Path::new("photos").join(odd);
    let mut learn = project.command(&["learn", "--id", "cat", "--class", "cat", "--json"]);
    learn.arg(data).arg("--bank").arg(odd).arg("--model").arg(crate::harness::fixture("tiny-sd1"));
    learn.args(["--config", "settings.toml", "--steps", "1"]);
    let summary = crate::run::Run::of(learn).succeeds().json();
    assert_eq!(summary["bank"], "odd\u{fffd}");
    let mut inspect = project.command(&["inspect", "--json"]);
    inspect.arg(odd);
    assert_eq!(crate::run::Run::of(inspect).succeeds().json()["path"], "odd\u{fffd}");
    let mut generate = project.generate_command("a <cat>", "--json --out none");
    generate.args(["--save-latents"]).arg(OsStr::from_bytes(b"latents\xff")).arg("--bank").arg(odd);
    let run = crate::run::Run::of(generate).succeeds().json();
    assert_eq!(run["images"][0]["file"], "none/00000.png");
    let mut generate = project.command(&["generate", "--prompt", "a", "--steps", "1", "--json"]);
    generate.arg("--out").arg(odd).arg("--model").arg(crate::harness::fixture("tiny-sd1"));
    let run = crate::run::Run::of(generate).succeeds().json();
    assert_eq!(run["images"][0]["file"], "odd\u{fffd}/00000.png");
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

/// The page of all commands is in the documentation, and shells and `man` get theirs.
#[test]
fn the_command_line_describes_itself() {
    let project = Project::new(&[]);
    let text = |arguments: &[&str]| project.run(arguments).succeeds().stdout;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(text(&["reference"]) == committed, "run `seqlora reference > docs/reference.md`");
    let man = text(&["reference", "--format", "man", "learn"]);
    assert!(man.contains(".TH") && man.contains("seqlora\\-learn"), "{man}");
    let man = text(&["reference", "--format", "man", "bank", "merge"]);
    assert!(man.contains("seqlora\\-bank\\-merge"), "{man}");
    let pages = text(&["reference", "--format", "man", "--out", "man"]);
    for name in ["seqlora", "seqlora-learn", "seqlora-bank", "seqlora-bank-merge"] {
        let page = std::fs::read_to_string(project.path(&format!("man/{name}.1"))).unwrap();
        let title = name.replace('-', "\\-");
        assert!(page.contains(&title) && pages.contains(&format!("{name}.1")), "{page}");
    }
    // Every page that another one refers to is there.
    let bank = std::fs::read_to_string(project.path("man/seqlora-bank.1")).unwrap();
    assert!(!bank.contains("seqlora\\-bank\\-help"), "{bank}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&["completions", shell]).contains("region"), "{shell}");
    }
    project.run(&["reference", "--format", "man", "unlearn"]).fails(2, &["`unlearn`"]);
    project.run(&["reference", "--format", "man", "bank", "x"]).fails(2, &["`bank x`"]);
    project.run(&["reference", "bank"]).fails(2, &["--format man only"]);
}
