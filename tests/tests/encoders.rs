//! The encoders of metrics against transformers, timm and OpenCLIP, from the files that these write
//! (`reference/make_metrics_fixtures.py`).
#![cfg(feature = "cpu")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use burn_seqlora::kernels::Flex;
use burn_seqlora::models::clip::ClipTextTower;
use burn_seqlora::models::vit::{Resampling, VitModel};
use burn_seqlora::models::weights::encoders::{DreamSimAdapter, FoundVit};
use burn_seqlora::models::weights::{Header, load_weights};
use seqlora_tests::fixtures::{self, Fixture, assert_close, relative_error};

/// Relative to the largest number of an output.
const TOLERANCE: f64 = 1e-5;

fn folder(name: &str) -> PathBuf {
    fixtures::path("metrics").join(name)
}

fn parity() -> Fixture {
    Fixture::open("metrics/parity.safetensors")
}

fn load(name: &str) -> VitModel<Flex> {
    VitModel::load(&folder(name), &Default::default()).unwrap()
}

/// Images of the size of training and of another one, which no model's position embeddings fit.
#[test]
fn dino_of_all_versions() {
    let fixture = parity();
    for name in ["dinov2", "dinov2-registers", "dinov2-swiglu", "dinov3", "dinov3-gated"] {
        let model = load(name);
        for label in ["native", "other"] {
            let pixels: Tensor<Flex, 4> = fixture.float(&format!("{name}.{label}.pixels"));
            let [_, _, height, width] = pixels.dims();
            let expected = fixture.float::<Flex, 2>(&format!("{name}.{label}.class"));
            let found = model.embed(pixels.clone());
            assert_close(&format!("{name}, {label}"), &found, &expected, TOLERANCE);
            // Resampling once is the same as resampling each time.
            let once = model.clone().for_images([height, width]).embed(pixels);
            assert_eq!(once.to_data(), found.to_data(), "{name}, {label}");
        }
    }
}

#[test]
fn the_first_dino() {
    let fixture = Fixture::open("parity_vit.safetensors");
    let model = VitModel::<Flex>::load(&fixtures::path("tiny-vit"), &Default::default()).unwrap();
    for size in ["", "other_"] {
        let found = model.embed(fixture.float(&format!("{size}pixels")));
        let expected = fixture.float::<Flex, 3>(&format!("{size}last_hidden_state"));
        let class = expected.narrow(1, 0, 1).squeeze_dim::<2>(1);
        assert_close(&format!("{size}class"), &found, &class, TOLERANCE);
    }
}

/// By the rule of the original code the positions of the same image are others.
#[test]
fn positions_may_be_resampled_as_in_the_original_code() {
    let fixture = parity();
    let mut found = FoundVit::find(&folder("dinov2")).unwrap();
    found.config.resampling = Resampling::Hub;
    let model = VitModel::<Flex>::from_found(found, &Default::default()).unwrap();
    let output = model.embed(fixture.float("dinov2.other.pixels"));
    let expected = fixture.float::<Flex, 2>("dinov2.hub.class");
    assert_close("original", &output, &expected, TOLERANCE);
    let other = fixture.float::<Flex, 2>("dinov2.other.class");
    assert!(relative_error(&output, &other) > 1e-3);
}

#[test]
fn both_towers_of_clip() {
    let fixture = parity();
    let ids = fixture.integers("ids");
    let ids: Vec<Vec<u32>> =
        ids.chunks(77).map(|row| row.iter().map(|id| *id as u32).collect()).collect();
    let eos = *ids[0].last().unwrap();
    for name in ["clip", "open-clip"] {
        let image = load(name).embed(fixture.float(&format!("{name}.pixels")));
        assert_close(name, &image, &fixture.float::<Flex, 2>(&format!("{name}.image")), TOLERANCE);
        let tower = ClipTextTower::<Flex>::load(&folder(name), &Default::default()).unwrap();
        let expected = fixture.float::<Flex, 2>(&format!("{name}.text"));
        assert_close(name, &tower.embed(&ids, eos), &expected, TOLERANCE);
        // What follows the first end does not matter, not even an end again.
        let mut other = ids.clone();
        let end = other[0].iter().position(|id| *id == eos).unwrap();
        other[0][end + 1..].fill(7);
        assert_close(name, &tower.embed(&other, eos), &expected, TOLERANCE);
    }
}

#[test]
fn timm_and_the_original_layout() {
    let fixture = parity();
    for name in ["timm-dino", "timm-dinov3"] {
        let found = load(name).embed(fixture.float(&format!("{name}.pixels")));
        assert_close(name, &found, &fixture.float::<Flex, 2>(&format!("{name}.class")), TOLERANCE);
    }
}

/// A renamed or missing tensor is named, and a tensor too many as well.
#[test]
fn no_tensor_is_missed() {
    let copy = tempfile::tempdir().unwrap();
    for name in ["dinov2", "dinov3", "clip"] {
        let (from, to) = (folder(name), copy.path().join(name));
        fs::create_dir(&to).unwrap();
        fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
        let bytes = fs::read(from.join("model.safetensors")).unwrap();
        let keys: Vec<String> = {
            let header = Header::read(&from.join("model.safetensors")).unwrap();
            header.tensors().keys().cloned().collect()
        };
        for key in keys {
            let other_half = name == "clip" && (key.starts_with("text_") || key == "logit_scale");
            if key.ends_with("mask_token") || other_half {
                continue;
            }
            // Names of one length, so that the header keeps its own.
            let renamed = format!("z{}", &key[1..]);
            fs::write(to.join("model.safetensors"), replaced(&bytes, &key, &renamed)).unwrap();
            let error = VitModel::<Flex>::load(&to, &Default::default()).unwrap_err().to_string();
            // A part of the name suffices: vision_model. and model. may be missing.
            let last = key.split('.').next_back().unwrap();
            assert!(error.contains("is missing") && error.contains(last), "{key}: {error}");
            assert!(error.contains(&renamed[1..4]), "{renamed}: {error}");
        }
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (format!("\"{from}\""), format!("\"{to}\""));
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

/// An archive of PyTorch's with any byte changed is read or refused, and nothing else.
#[test]
fn damaged_archives_are_refused() {
    let bytes = fs::read(folder("dreamsim/dino_vitbase16_pretrain.pth")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("damaged.pth");
    let place = |n: usize| match n % 3 {
        // The pickle lies at the start, the directory at the end.
        0 => n * 7 % 8000,
        1 => bytes.len() - 1 - n * 5 % 4000,
        _ => n * 7919 % bytes.len(),
    };
    let mut refused = 0;
    for n in 0..3000 {
        let mut damaged = bytes.clone();
        damaged[place(n)] ^= 1 << (n % 8);
        fs::write(&path, &damaged).unwrap();
        refused += usize::from(VitModel::<Flex>::load(&path, &Default::default()).is_err());
    }
    for length in (0..bytes.len()).step_by(997) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(Header::read(&path).is_err(), "{length} bytes");
    }
    assert!((200..3000).contains(&refused), "{refused}");
}

/// The last layer of DINO, the projections of both CLIPs, with the adapter merged.
#[test]
fn encoders_of_dreamsim() {
    let fixture = parity();
    let adapter = DreamSimAdapter::open(&folder("dreamsim/ensemble_lora")).unwrap();
    assert_eq!(adapter.branches(), 3);
    let device = Default::default();
    let pixels: Tensor<Flex, 4> = fixture.float("dreamsim.pixels");
    let imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let clip = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]);
    let mut outputs = Vec::new();
    for (branch, (file, (mean, std))) in [
        ("dino_vitbase16_pretrain.pth", imagenet),
        ("clip_vitb16_pretrain.pth.tar", clip),
        ("open_clip_vitb16_pretrain.pth.tar", clip),
    ]
    .into_iter()
    .enumerate()
    {
        let mut found = FoundVit::find(&folder("dreamsim").join(file)).unwrap();
        if branch == 1 {
            found.config.hidden_act = burn_seqlora::models::weights::Activation::QuickGelu;
        }
        let FoundVit { config, files, layout } = found;
        let mut model = load_weights(config.init::<Flex>(&device), &files, &layout).unwrap();
        for delta in adapter.deltas(branch, model.depth(), model.width()).unwrap() {
            let change = Tensor::from_data(delta.delta, &device);
            model = model.with_projections_changed(delta.layer, change);
        }
        let number = |values: [f64; 3]| Tensor::<Flex, 1>::from_floats(values, &device);
        let [mean, std] = [mean, std].map(|values| number(values).reshape([1, 3, 1, 1]));
        let pixels = (pixels.clone() - mean) / std;
        outputs.push(match branch {
            0 => model.last_layer_class(pixels),
            _ => model.embed(pixels),
        });
    }
    let all = Tensor::cat(outputs, 1);
    let centred = all.clone() - all.mean_dim(1);
    let length = centred.clone().powi_scalar(2).sum_dim(1).sqrt();
    assert_close(
        "dreamsim",
        &(centred / length),
        &fixture.float::<Flex, 2>("dreamsim.embedding"),
        TOLERANCE,
    );
}

/// Without the files of a kind, the error says which kinds there are.
#[test]
fn unknown_files_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    let load =
        |path: &Path| VitModel::<Flex>::load(path, &Default::default()).unwrap_err().to_string();
    assert!(load(empty.path()).contains("holds no weights"));
    let bank = fixtures::path("metrics/preprocessing.safetensors");
    assert!(load(&bank).contains("holds no encoder that is known"), "{}", load(&bank));
    let old = empty.path().join("old.pth");
    fs::write(&old, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    assert!(load(&old).contains("before version 1.6"), "{}", load(&old));
}
