//! `export --format merged` and `--format single-file`: whole models that draw what the bank draws.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::images::write_photos;
use crate::lora::{TOLERANCE, difference, latents};
use crate::resume::unbroken;
use crate::run::Run;
use crate::single_file;
use crate::weights;

/// The same for a model that predicts v and a concept at fifty times its strength: rounding is amplified, as the
/// concept is, which moves the latents by two thirds.
const AMPLIFIED: f32 = 10.0 * TOLERANCE;

/// The options of an export of both concepts with strengths that one sees.
const PETS: &str = "export bank --out out --pack pets --concept cat=20 --concept dog=-30 --json";

fn export(project: &Project, options: &str, model: &PathBuf) -> Run {
    let mut command = project.command(&options.split(' ').collect::<Vec<_>>());
    command.arg("--model").arg(model);
    Run::of(command)
}

#[test]
fn a_merged_model_draws_what_the_bank_draws() {
    let mut project = Project::new(&[]);
    unbroken().write(&project.path("bank"));
    let base = latents(&project, &[]);
    let bank = ["--bank", "bank", "--concept", "cat=20", "--concept", "dog=-30"];
    let expected = latents(&project, &bank);
    assert!(difference(&base, &expected) > 100.0 * TOLERANCE, "the concepts change something");

    let model = project.model.clone();
    let options = format!("{PETS} --format merged --format single-file");
    let result = export(&project, &options, &model).succeeds().json();
    for adapter in result["adapters"].as_array().unwrap() {
        assert_eq!(adapter["modules"], adapter["matched"], "{adapter:#}");
        assert!(adapter["relative_error"].as_f64().unwrap() < 1e-3, "{adapter:#}");
    }
    // By this key diffusers recognises the text encoder.
    let file = weights::read(&project.path("out/single-file/pets.safetensors"));
    let key = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight";
    assert!(file.contains_key(key), "{:?}", file.keys());
    // No shape says how many heads so small a model has.
    assert_eq!(result["adapters"][1]["sidecar"], "out/single-file/pets.config.json");
    assert!(result["adapters"][0]["sidecar"].is_null());
    for made in ["out/merged/pets", "out/single-file/pets.safetensors"] {
        project.model = project.path(made);
        let found = latents(&project, &[]);
        assert!(difference(&expected, &found) < TOLERANCE, "{made}");
    }
    // Nothing is replaced unasked, and nothing half-written is left.
    export(&project, &options, &model).fails(2, &["is there already", "--overwrite"]);
    let names: Vec<String> = Files::read(&project.path("out")).names().collect();
    assert!(!names.iter().any(|name| name.contains(".partial")), "{names:?}");
    assert!(names.contains(&"merged/pets/model_index.json".to_string()), "{names:?}");
}

/// What an export does not write stays: the folder in which it lies is not replaced, and nothing is removed.
#[test]
fn other_files_in_an_exported_folder_stay() {
    let project = Project::new(&[]);
    unbroken().write(&project.path("bank"));
    let options = "export bank --out out --format merged --format single-file --overwrite";
    let run = || export(&project, options, &project.model);
    run().succeeds();
    run().succeeds();
    for (file, replaced) in [
        ("merged/dog/NOTES.txt", "merged/dog"),
        ("merged/dog/safety_checker/config.json", "merged/dog"),
        ("merged/cat.partial/NOTES.txt", "merged/cat.partial"),
        ("single-file/cat.safetensors.partial/NOTES.txt", "single-file/cat.safetensors.partial"),
    ] {
        let (file, replaced) = (format!("out/{file}"), format!("out/{replaced}"));
        project.write(&file, "mine");
        let before = Files::read(&project.path("out"));
        let text = format!("{file} is no file of this export, which would replace {replaced}");
        run().fails(2, &[&text, "choose another --out"]);
        before.assert_same(&Files::read(&project.path("out")));
        fs::remove_file(project.path(&file)).unwrap();
    }
    // What a killed run leaves is removed.
    for left in ["merged/cat.partial/unet", "single-file/cat.safetensors.partial"] {
        project.write(&format!("out/{left}/.tmpAbC123"), "half");
    }
    run().succeeds();
    assert!(!project.path("out/merged/cat.partial").exists());
    assert!(!project.path("out/single-file/cat.safetensors.partial").exists());
}

/// What a folder's schedule leaves to diffusers' defaults has other values in most single files.
#[test]
fn a_single_file_has_the_folders_schedule() {
    let mut project = Project::new(&[]).with_own_model();
    unbroken().write(&project.path("bank"));
    let file = project.path("model/scheduler/scheduler_config.json");
    let mut schedule: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    schedule.as_object_mut().unwrap().remove("set_alpha_to_one");
    fs::write(&file, schedule.to_string()).unwrap();
    let expected = latents(&project, &["--bank", "bank", "--concept", "cat=20"]);
    let model = project.model.clone();
    let options = "export bank --out out --concept cat=20 --format single-file";
    export(&project, options, &model).succeeds();
    project.model = project.path("out/single-file/cat.safetensors");
    assert!(difference(&expected, &latents(&project, &[])) < TOLERANCE);
}

/// Query, key and value of OpenCLIP's encoder are one tensor of the file.
#[test]
fn a_single_file_stays_one() {
    let mut project = single_file::project("sd2", |_| ());
    write_photos(&project.path("photos/cat"), "cat");
    project.learn("photos", "").succeeds();
    let model = project.model.clone();
    let options = "export bank --out one --concept cat=50 --format";
    export(&project, &format!("{options} merged"), &model).fails(1, &["it is a single file"]);
    export(&project, &format!("{options} single-file"), &model).succeeds();
    let expected = latents(&project, &["--bank", "bank", "--concept", "cat=50"]);
    assert!(difference(&latents(&project, &[]), &expected) > 100.0 * TOLERANCE);
    project.model = project.path("one/single-file/cat.safetensors");
    assert!(difference(&expected, &latents(&project, &[])) < AMPLIFIED);
    // Another model's tokenizer stays what it is.
    fs::remove_dir_all(project.path("one/single-file/tokenizer")).unwrap();
    Files::read(&fixture("tiny-sd1/tokenizer")).write(&project.path("one/single-file/tokenizer"));
    let again = format!("{options} single-file --overwrite");
    export(&project, &again, &model).fails(1, &["one/single-file/tokenizer", "another folder"]);
}

/// Shards keep their names; the original layout of Stable Diffusion 2 is not written.
#[test]
fn stable_diffusion_2_is_merged_as_a_folder() {
    let mut project = Project::new(&["cat"]).with_model_at(fixture("tiny-sd2"));
    project.learn("photos", "").succeeds();
    let model = project.model.clone();
    let options = "export bank --out out --concept cat=50 --json --format";
    let merged = export(&project, &format!("{options} merged"), &model).succeeds().json();
    assert_eq!(merged["adapters"][0]["name"], "cat");
    let expected = latents(&project, &["--bank", "bank", "--concept", "cat=50"]);
    assert!(difference(&latents(&project, &[]), &expected) > 100.0 * TOLERANCE);
    project.model = project.path("out/merged/cat");
    assert!(difference(&expected, &latents(&project, &[])) < AMPLIFIED);
    let options = "export bank --out file --concept cat=50 --format single-file";
    export(&project, options, &model).fails(1, &["only Stable Diffusion 1"]);
    assert!(!project.path("file").join("single-file/cat.safetensors").exists());
}

#[test]
fn a_model_is_needed_and_has_to_be_the_banks() {
    let project = Project::new(&[]);
    unbroken().write(&project.path("bank"));
    let run =
        |options: &str| project.run(&format!("{PETS} {options}").split(' ').collect::<Vec<_>>());
    run("--format merged").fails(2, &["--format merged needs the base model: --model"]);
    run("--format kohya --fused x").fails(2, &["--fused is for --format merged"]);
    export(&project, &format!("{PETS} --format merged"), &fixture("tiny-sd2"))
        .fails(2, &["another base model"]);
    let vae = fixture("tiny-sd1/vae/diffusion_pytorch_model.safetensors");
    fs::copy(vae, project.path("vae.safetensors")).unwrap();
    let options = PETS.replace("--out out", "--out other --format merged --vae vae.safetensors");
    export(&project, &options, &project.model).fails(1, &["vae.safetensors", "diffusers folder"]);
    assert!(!project.path("out").exists());
}

/// What was fused goes into the weights in place of the sum.
#[test]
fn a_fusion_is_exported() {
    let mut project = Project::new(&[]);
    unbroken().write(&project.path("bank"));
    let model = project.model.clone();
    let fuse = "fuse --bank bank --method mean --out fused --concept cat=20 --concept dog=20";
    export(&project, fuse, &model).succeeds();
    let expected = latents(&project, &["--bank", "bank", "--fused", "fused"]);
    let options = "export bank --out out --pack both --format merged --fused fused";
    export(&project, options, &model).succeeds();
    project.model = project.path("out/merged/both");
    assert!(difference(&expected, &latents(&project, &[])) < TOLERANCE);
}
