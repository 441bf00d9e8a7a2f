//! `seqlora pretrain`, a step or two at a time.

use std::fs;

use safetensors::{Dtype, SafeTensors};

use crate::harness::Project;

/// One step of each part, at a rate that changes something or nothing.
fn config(project: &Project, name: &str, rate: f64) {
    let stage = format!("steps = 1\nbatch = 2\nwarmup = 0\nrate = {rate:?}\n");
    project.write(name, format!("[autoencoder]\n{stage}[text_encoder]\n{stage}"));
}

fn weights(project: &Project, out: &str, file: &str) -> Vec<u8> {
    fs::read(project.path(&format!("{out}/model/{file}"))).unwrap()
}

const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const TEXT_ENCODER: &str = "text_encoder/model.safetensors";

/// A training that begins with another model's weights keeps them where its rate is zero, and parts
/// that have begun are left alone unless they are to be resumed.
#[test]
fn a_model_is_trained_on() {
    let project = Project::new(&[]);
    config(&project, "one.toml", 1e-3);
    config(&project, "still.toml", 0.0);
    let one = ["pretrain", "--out", "one", "--config", "one.toml"];
    let part = |part| [&one[..], &["--part", part]].concat();
    project.run(&part("autoencoder")).succeeds();
    project.run(&part("text-encoder")).succeeds();
    project.run(&part("autoencoder")).fails(2, &["training of the autoencoder", "--resume"]);
    let both = ["--part", "autoencoder", "--part", "text-encoder"];
    let from = ["pretrain", "--out", "two", "--config", "still.toml", "--from", "one/model"];
    project.run(&[&from[..], &both].concat()).succeeds();
    let again = [&from[..], &["--part", "classifier"]].concat();
    project.run(&again).fails(2, &["two holds a model already"]);
    for file in [VAE, TEXT_ENCODER] {
        assert!(weights(&project, "one", file) == weights(&project, "two", file), "{file}");
    }
    let anew = ["pretrain", "--out", "three", "--config", "still.toml", "--part", "autoencoder"];
    project.run(&anew).succeeds();
    assert!(weights(&project, "one", VAE) != weights(&project, "three", VAE));
    project.write("empty/notes.txt", "no model");
    let nothing = ["pretrain", "--out", "four", "--from", "empty", "--part", "autoencoder"];
    project.run(&nothing).fails(1, &["empty", "no part of a model"]);
}

/// In bf16, a step of UNet and text encoder sees nearly the loss and the gradient of one in f32, and
/// the weights stay in f32.
#[test]
fn half_precision_trains_nearly_the_same() {
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
    for figure in ["loss", "gradient"] {
        let [exact, rounded] = [&exact, &rounded].map(|line| line[figure].as_f64().unwrap());
        let apart = (rounded / exact - 1.0).abs();
        assert!(apart > 0.0 && apart < 0.05, "{figure}: {rounded} instead of {exact}");
    }
}

/// Settings that mean nothing are refused before anything is written.
#[test]
fn settings_that_mean_nothing_are_refused() {
    let project = Project::new(&[]);
    let refused = |text: &str, code, said: &str| {
        project.write("bad.toml", text);
        let run = project.run(&["pretrain", "--out", "out", "--config", "bad.toml"]);
        run.fails(code, &[said]);
        assert!(!project.path("out").exists());
    };
    refused("pairs = 1.5", 1, "`pairs` is 1.5");
    refused("[denoiser]\nbatch = 0", 1, "`denoiser.batch` must be at least 1");
    refused("colours = 3", 2, "colours");
}
