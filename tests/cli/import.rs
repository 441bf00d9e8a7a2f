//! `seqlora import`: adapters of other tools as concepts of a bank.

use crate::harness::{Project, fixture};
use crate::resume::unbroken;
use crate::run::Run;

/// Imports a file of the fixtures into `bank`.
fn import(project: &Project, file: &str, options: &[&str]) -> Run {
    let file = fixture("adapters").join(file);
    let start = ["import", file.to_str().unwrap(), "--bank", "bank", "--class", "wizard"];
    let mut command = project.command(&[&start[..], options].concat());
    command.arg("--model").arg(&project.model);
    Run::of(command)
}

/// Plain LoRAs in a bank of their own draw what `generate --lora` draws, and their trigger is their word.
#[test]
fn an_imported_adapter_draws_as_the_file_does() {
    let project = Project::new(&[]);
    let options = ["--id", "potter", "--trigger", "a red plushie", "--json"];
    let file = "pytorch_lora_weights.safetensors";
    let result = import(&project, file, &options).succeeds().json();
    assert_eq!((&result["modules"], &result["matched"]), (&22.into(), &22.into()));
    assert_eq!((&result["shared"], &result["words"]), (&0.0.into(), &3.into()));
    let lora = format!("--lora {}", fixture("adapters").join(file).display());
    let file = project.image("a photo of a red plushie", &lora);
    project.generate("a photo of <potter>", "--bank bank --seed 0").succeeds();
    let concept = project.pixels();
    project.generate("a photo of a red plushie", &format!("{lora} --seed 0")).succeeds();
    let apart = concept.iter().zip(project.pixels()).map(|(a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(1), "{apart:?}");
    assert!(!file.is_empty());

    // Mix-of-Show's words come with the file.
    let second = import(&project, "edlora.pth", &["--id", "second", "--json"]);
    let second = second.succeeds().json();
    assert_eq!(second["words"], 2);
    // It is the same adapter, so that all of it acts where the first one does.
    assert!((second["shared"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{second:#}");
    let bank = project.inspect();
    assert_eq!((&bank["method"], &bank["concepts"][1]["final_loss"]), (&"lora".into(), &().into()));
    assert_eq!(bank["concepts"][1]["problems"], serde_json::json!([]));
}

/// Folders of older versions hold pickles, which are read and not executed.
#[test]
fn folders_of_older_versions_are_imported() {
    let project = Project::new(&[]);
    for (folder, format) in [("old-diffusers", "diffusers"), ("old-peft", "peft")] {
        let options = ["--id", format, "--trigger", "a red plushie", "--json"];
        let result = import(&project, folder, &options).succeeds().json();
        assert_eq!((&result["format"], &result["matched"]), (&format.into(), &22.into()));
        let folder = fixture("adapters").join(folder);
        let shown = project.run(&["inspect", folder.to_str().unwrap(), "--json"]).succeeds();
        assert_eq!(shown.json()["modules"].as_array().unwrap().len(), 22);
    }
    assert_eq!(project.ids(), ["diffusers", "peft"]);
}

/// In a bank of concepts that are kept apart, an imported one is kept apart too, and what that loses is told.
#[test]
fn an_imported_adapter_is_projected() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    let file = "kohya.safetensors";
    let refused = import(&project, file, &["--trigger", "sks", "--json"]);
    let refused = refused.fails(2, &["concepts of `seqlora`", "--project"]).json();
    import(&project, file, &["--project"]).fails(2, &["--trigger"]);
    assert_eq!(project.ids(), ["cat", "dog"]);
    let options = ["--project", "--trigger", "sks", "--json"];
    let result = import(&project, file, &options).succeeds().json();
    let shared = result["shared"].as_f64().unwrap();
    assert!(shared > 0.01 && shared < 1.0, "{result:#}");
    // The refusal has told what --project removes.
    let told = format!("{:.2} % of its change acts on directions", 100.0 * shared);
    assert!(refused["error"].as_str().unwrap().contains(&told), "{refused:#}");
    assert_eq!(project.ids(), ["cat", "dog", "kohya"]);
    let bank = project.inspect();
    assert!(bank["max_overlap"].as_f64().unwrap() < 1e-6, "{bank:#}");
    import(&project, file, &options).fails(2, &["bank holds `kohya` already", "--id"]);
}

#[test]
fn what_no_concept_can_have_is_left_out_on_request() {
    let project = Project::new(&[]);
    let file = "convolutions.safetensors";
    let options = ["--trigger", "sks", "--json"];
    import(&project, file, &options).fails(2, &["e.g. `lora_unet_", "100.0 %", "--allow-partial"]);
    let partial = [&options[..], &["--allow-partial"]].concat();
    import(&project, file, &partial).fails(2, &["changes nothing"]);
    import(&project, file, &["--id", "../x", "--trigger", "a"]).fails(2, &["--id"]);
}

/// What `export` writes of a concept with one embedding per word comes back whole, adapter and words, and draws
/// what the concept draws. A second export into the folder finds the words there, unless they are others.
#[test]
fn an_exported_concept_comes_back() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--tokens single --lr 1e-2").succeeds();
    let export =
        |format: &str| project.run(&["export", "bank", "--out", "exports", "--format", format]);
    export("kohya").succeeds();
    export("diffusers").succeeds();
    project.generate("a photo of a <cat>", "--bank bank --seed 0").succeeds();
    let drawn = project.pixels();

    let words = "exports/textual-inversion/cat.safetensors";
    let start = ["import", "exports/kohya/cat.safetensors", "--bank", "other", "--class", "cat"];
    let run = |options: &[&str]| {
        let mut command = project.command(&[&start[..], options].concat());
        command.arg("--model").arg(&project.model);
        Run::of(command)
    };
    run(&["--words", words, "--trigger", "cat"]).fails(2, &["--words", "--trigger"]);
    run(&["--words", words]).succeeds();
    project.generate("a photo of a <cat>", "--bank other --seed 0").succeeds();
    let apart = drawn.iter().zip(project.pixels()).map(|(a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(1), "{apart:?}");
    // The words alone are not the concept.
    project.generate("a photo of a cat", "--seed 0").succeeds();
    assert_ne!(drawn, project.pixels());

    project.write(words, "other");
    export("peft").fails(2, &["textual-inversion/cat.safetensors is there already"]);
}

/// What is typed of a concept, and words that an export left beside its adapter.
#[test]
fn words_and_classes_are_checked() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    let import = |file: &str, options: &[&str]| {
        let start = ["import", file, "--bank", "new", "--id", "new"];
        let mut command = project.command(&[&start[..], options].concat());
        command.arg("--model").arg(&project.model);
        Run::of(command)
    };
    let export = "export bank --out out --format kohya --format peft --format diffusers";
    project.run(&export.split(' ').collect::<Vec<_>>()).succeeds();
    // What a concept of the bank is gives no further one.
    let again = ["import", "out/kohya/cat.safetensors", "--bank", "bank", "--class", "cat"];
    let mut command = project.command(&again);
    command.args(["--id", "again", "--trigger", "cat", "--project", "--model"]).arg(&project.model);
    Run::of(command).fails(2, &["100.00 %", "--project leaves nothing of it"]);
    import("out/kohya/cat.safetensors", &["--class", " "]).fails(2, &["--class"]);
    import("out/kohya/cat.safetensors", &["--class", "<cat>"]).fails(2, &["--class"]);
    let tag = ["--class", "cat", "--trigger", "a <lora:x:1>"];
    import("out/kohya/cat.safetensors", &tag).fails(2, &["--trigger", "without tags"]);
    for file in
        ["kohya/cat.safetensors", "peft/cat", "diffusers/cat/pytorch_lora_weights.safetensors"]
    {
        let file = format!("out/{file}");
        let run = import(&file, &["--class", "cat", "--trigger", "cat"]).succeeds();
        assert!(!run.stderr.contains("--words takes them"), "{}", run.stderr);
        let run = import(&file, &["--class", "cat"]);
        let words = "out/textual-inversion/cat.safetensors";
        assert!(run.stderr.contains(words) && run.stderr.contains("--words"), "{}", run.stderr);
        let _ = std::fs::remove_dir_all(project.path("new"));
    }
}
