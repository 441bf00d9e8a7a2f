//! `seqlora pretrain`, with one step per part.

use std::collections::BTreeMap;
use std::fs;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::harness::Project;

/// Settings for one step of the autoencoder and the text encoder.
fn config(project: &Project, name: &str, lr: f64) {
    let task = format!("steps = 1\nbatch = 1\nwarmup = 0\nlr = {lr:?}\n");
    let previews = "preview_every = 1\n";
    project.write(name, format!("[autoencoder]\n{task}{previews}[text_encoder]\n{task}"));
}

/// The bits of a file's numbers, tensor by tensor; -0 counts as 0.
fn weights(project: &Project, out: &str, file: &str) -> BTreeMap<String, Vec<u16>> {
    let bytes = fs::read(project.path(&format!("{out}/model/{file}"))).unwrap();
    let number = |bytes: &[u8]| match u16::from_le_bytes(bytes.try_into().unwrap()) {
        0x8000 => 0,
        bits => bits,
    };
    let tensor = |(name, view): (String, TensorView)| {
        assert_eq!(view.dtype(), Dtype::F16, "{name}");
        (name, view.data().chunks_exact(2).map(number).collect())
    };
    SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(tensor).collect()
}

const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const TEXT_ENCODER: &str = "text_encoder/model.safetensors";

/// A training that starts from another model's weights keeps them at a learning rate of 0. A part
/// whose training has been started is only continued with `--resume`. `judge` is an alias of
/// `classifier`.
#[test]
fn training_starts_from_another_models_weights() {
    let project = Project::new(&[]);
    config(&project, "one.toml", 1e-3);
    config(&project, "frozen.toml", 0.0);
    let one = ["pretrain", "--out", "one", "--config", "one.toml"];
    let part = |part| [&one[..], &["--part", part]].concat();
    project.run(&part("autoencoder")).succeeds();
    project.run(&part("text-encoder")).succeeds();
    project.run(&part("autoencoder")).fails(2, &["training of the autoencoder", "--resume"]);
    let both = ["--part", "autoencoder", "--part", "text-encoder"];
    let from = ["pretrain", "--out", "two", "--config", "frozen.toml", "--from", "one/model"];
    project.run(&[&from[..], &both].concat()).succeeds();
    for part in ["classifier", "judge"] {
        let again = [&from[..], &["--part", part]].concat();
        project.run(&again).fails(2, &["two already holds a model"]);
    }
    assert!(project.path("one/training/autoencoder/preview-000001.png").is_file());
    for file in [VAE, TEXT_ENCODER] {
        assert!(weights(&project, "one", file) == weights(&project, "two", file), "{file}");
    }
    let anew = ["pretrain", "--out", "three", "--config", "frozen.toml", "--part", "text-encoder"];
    project.run(&anew).succeeds();
    let text = |out| weights(&project, out, TEXT_ENCODER);
    assert!(text("one") != text("three"));
    project.write("empty/notes.txt", "no model");
    let empty = ["pretrain", "--out", "four", "--from", "empty", "--part", "autoencoder"];
    project.run(&empty).fails(1, &["empty", "no part of a model"]);
}

/// A step of the denoiser in bf16 has nearly the loss and the gradient norm of a step in f32, and
/// the weights stay in f32.
#[test]
fn bf16_training_is_close_to_f32() {
    let project = Project::new(&[]);
    project.write("one.toml", "[denoiser]\nsteps = 1\nbatch = 4\nwarmup = 0\n");
    let line = |precision: &str| -> serde_json::Value {
        let from = ["pretrain", "--from", "builtin", "--part", "denoiser", "--config", "one.toml"];
        let run = [&from[..], &["--precision", precision, "--out", precision]].concat();
        project.run(&run).succeeds();
        let training = project.path(&format!("{precision}/training/denoiser"));
        let state = fs::read(training.join("state-0.safetensors")).unwrap();
        let state = SafeTensors::deserialize(&state).unwrap();
        assert!(state.iter().all(|(_, view)| view.dtype() == Dtype::F32));
        serde_json::from_slice(&fs::read(training.join("curve.jsonl")).unwrap()).unwrap()
    };
    let (exact, rounded) = (line("f32"), line("bf16"));
    for figure in ["loss", "gradient_norm"] {
        let [exact, rounded] = [&exact, &rounded].map(|line| line[figure].as_f64().unwrap());
        let apart = (rounded / exact - 1.0).abs();
        assert!(apart > 0.0 && apart < 0.05, "{figure}: {rounded} instead of {exact}");
    }
}

/// Invalid settings are refused before anything is written.
#[test]
fn invalid_settings_are_refused() {
    let project = Project::new(&[]);
    let refused = |text: &str, message: &str| {
        project.write("bad.toml", text);
        let run = project.run(&["pretrain", "--out", "out", "--config", "bad.toml"]);
        run.fails(2, &[message]);
        assert!(!project.path("out").exists());
    };
    refused("pair_probability = 1.5", "`pair_probability` is 1.5");
    refused("[denoiser]\nbatch = 0", "`denoiser.batch` must be at least 1");
    refused("colours = 3", "colours");
}
