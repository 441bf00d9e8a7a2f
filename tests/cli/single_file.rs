//! Models in one file, laid out as `fixtures/ldm_keys.json` says (`reference/ldm_keys.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn_seqlora::models::weights::KeyTable;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Project, THREE, fixture};
use crate::run::Run;
use crate::weights;
use crate::weights::Weights;

/// All tensors of a model folder by component and our name.
fn folder_weights(folder: &Path) -> BTreeMap<(&'static str, String), weights::Tensor> {
    let tables =
        [("unet", KeyTable::UNET), ("vae", KeyTable::VAE), ("text_encoder", KeyTable::CLIP_TEXT)];
    let mut all = BTreeMap::new();
    for (component, table) in tables {
        for file in fs::read_dir(folder.join(component)).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|end| end == "safetensors") {
                let ours = weights::read(&file).into_iter();
                let ours = ours.filter_map(|(key, t)| Some(((component, table.ours(&key)?), t)));
                all.extend(ours);
            }
        }
    }
    all
}

/// The single file of a fixture, e.g. `sd1`.
pub fn single_file(label: &str) -> Weights {
    let keys: Value = serde_json::from_slice(&fs::read(fixture("ldm_keys.json")).unwrap()).unwrap();
    let folder = folder_weights(&fixture(&format!("tiny-{label}")));
    let find = |name: &Value| {
        let (component, name) = name.as_str().unwrap().split_once('.').unwrap();
        let (component, table) = match component {
            "unet" => ("unet", KeyTable::UNET),
            "vae" => ("vae", KeyTable::VAE),
            _ => ("text_encoder", KeyTable::CLIP_TEXT),
        };
        &folder[&(component, table.ours(name).unwrap())]
    };
    let entries = keys[label].as_object().unwrap().iter();
    let tensor = |(key, entry): (&String, &Value)| {
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let parts: Vec<_> = entry["from"].as_array().unwrap().iter().map(find).collect();
        let (dtype, bytes) = match parts.first() {
            Some(first) => (first.0, parts.iter().flat_map(|part| part.2.clone()).collect()),
            None => (Dtype::F32, vec![0; 4 * shape.iter().product::<usize>()]),
        };
        (key.clone(), (dtype, shape, bytes))
    };
    entries.map(tensor).collect()
}

/// The configs of a fixture's folder as the file beside a single file.
pub fn sidecar(label: &str) -> Value {
    let read = |name: &str| -> Value {
        let path = fixture(&format!("tiny-{label}")).join(name);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    json!({
        "unet": read("unet/config.json"),
        "text_encoder": read("text_encoder/config.json"),
        "vae": read("vae/config.json"),
        "scheduler": read("scheduler/scheduler_config.json"),
    })
}

/// A project whose model is the single file of a fixture, with tokenizer and sidecar beside it.
pub fn project(label: &str, change: impl FnOnce(&mut Weights)) -> Project {
    let project = Project::new(&[]);
    let tokenizer = fixture(&format!("tiny-{label}")).join("tokenizer");
    Files::read(&tokenizer).write(&project.path("one/tokenizer"));
    project.write("one/model.config.json", sidecar(label).to_string());
    let mut file = single_file(label);
    change(&mut file);
    weights::write(&project.path("one/model.safetensors"), &file);
    project.with_model("one/model.safetensors")
}

/// The same weights give the same bytes, from a folder or from one file: SD1 with its position ids,
/// SD2 with fused projections, a block to spare and half precision.
#[test]
fn a_single_file_is_the_same_model() {
    for label in ["sd1", "sd2"] {
        let one = project(label, |_| ());
        let folder = Project::new(&[]).with_model_at(fixture(&format!("tiny-{label}")));
        let image = |project: &Project| {
            project.generate("a photo of a mug", "--negative blurry").succeeds();
            project.pixels()
        };
        assert!(image(&one) == image(&folder), "{label}: another image");
    }
}

/// Training reads the VAE's encoder too: all adapters come out the same.
#[test]
fn a_single_file_learns_the_same() {
    let one = project("sd1", |_| ());
    let folder = Project::new(&[]);
    for project in [&one, &folder] {
        crate::images::write_photos(&project.path("photos").join(THREE[0]), THREE[0]);
        project.learn("photos", "--steps 2").succeeds();
    }
    let adapter = format!("concepts/{}/adapter.safetensors", THREE[0]);
    assert!(one.bank().bytes(&adapter) == folder.bank().bytes(&adapter));
}

/// Without a sidecar sizes are read off the shapes; what that cannot tell, and what is wrong,
/// is named with the fix.
#[test]
fn what_a_single_file_does_not_hold() {
    let mut project = project("sd1", |_| ());
    let generate = |project: &Project, options: &str| project.generate("a mug", options);
    fs::remove_file(project.path("one/model.config.json")).unwrap();
    generate(&project, "").fails(1, &["model.safetensors", "`norm_num_groups` is 32", "24"]);
    project.write("one/model.config.json", r#"{"unet": {"act_fn": "relu"}}"#);
    generate(&project, "").fails(1, &["model.safetensors", "`act_fn`", "\"silu\""]);
    project.write("one/model.config.json", r#"{"decoder": {}}"#);
    generate(&project, "").fails(1, &["model.config.json", "`decoder`"]);
    project.write("one/model.config.json", sidecar("sd1").to_string());
    fs::rename(project.path("one/tokenizer"), project.path("words")).unwrap();
    generate(&project, "").fails(1, &["no tokenizer", "one/tokenizer", "--tokenizer"]);
    generate(&project, "--tokenizer words").succeeds();

    project.write("one/model.ckpt", b"\x80\x02}q\x00(X\x01\x00\x00\x00a");
    project = project.with_model("one/model.ckpt");
    let run = generate(&project, "").fails(1, &["model.ckpt is a bare pickle", ".safetensors"]);
    assert!(!run.stderr.contains("copy it again"), "{}", run.stderr);
    project.write("one/notes.safetensors", "no tensors");
    project = project.with_model("one/notes.safetensors");
    generate(&project, "").fails(1, &["notes.safetensors is damaged"]);
}

/// What PyTorch Lightning saved is read like the same numbers in a safetensors file, and nothing of it is executed.
#[test]
fn a_checkpoint_of_pytorch_is_read() {
    let mut project = project("sd1", |weights| {
        for (_, (dtype, _, bytes)) in weights.iter_mut() {
            let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
            let half = |b: &[u8]| half::f16::from_f32(number(b)).to_le_bytes();
            *bytes = bytes.chunks_exact(4).flat_map(half).collect();
            *dtype = Dtype::F16;
        }
    });
    project.generate("a mug", "").succeeds();
    let expected = project.pixels();
    fs::copy(fixture("tiny-sd1.ckpt"), project.path("one/model.ckpt")).unwrap();
    project = project.with_model("one/model.ckpt");
    project.generate("a mug", "").succeeds();
    assert!(expected == project.pixels());
}

/// A missing key has its own name in the message.
#[test]
fn broken_single_files_are_named() {
    let lacks = |key: &'static str| project("sd2", move |file| drop(file.remove(key)));
    let generate = |project: &Project| project.generate("a mug", "");
    let key = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight";
    generate(&lacks(key)).fails(1, &["model.safetensors", &format!("`{key}` is missing")]);
    let key = "first_stage_model.decoder.mid.attn_1.q.bias";
    generate(&lacks(key)).fails(1, &[&format!("`{key}` is missing")]);
    let key = "model.diffusion_model.out.2.weight";
    generate(&lacks(key)).fails(1, &["not a single-file Stable Diffusion", key]);
    let adapter = Project::new(&[]);
    let lora =
        Weights::from([("lora_unet_x.lora_up.weight".into(), (Dtype::F32, vec![1], vec![0; 4]))]);
    weights::write(&adapter.path("lora.safetensors"), &lora);
    generate(&adapter.with_model("lora.safetensors")).fails(1, &["adapter, not a whole model"]);
}

/// SD2 models predict one thing or the other: somebody has to say which.
#[test]
fn what_a_model_predicts() {
    let project = project("sd2", |_| ());
    let mut config = sidecar("sd2");
    config["scheduler"].as_object_mut().unwrap().remove("prediction_type");
    project.write("one/model.config.json", config.to_string());
    project.generate("a mug", "").fails(1, &["--prediction v", "--prediction epsilon"]);
    project.generate("a mug", "--prediction noise").fails(2, &["neither epsilon nor v"]);
    let image = |options: &str| {
        project.generate("a mug", options).succeeds();
        project.pixels()
    };
    let v = image("--prediction v");
    assert!(v != image("--prediction epsilon"), "it changes nothing");
    let folder = Project::new(&[]).with_model_at(fixture("tiny-sd2"));
    let command = folder.generate_command("a mug", "");
    Run::of(command).succeeds();
    assert!(v == folder.pixels(), "the folder's model predicts v");
}
