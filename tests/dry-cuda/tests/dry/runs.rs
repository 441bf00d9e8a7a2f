//! Whole runs of the built-in model by the public API, on devices that count.

use std::env;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use burn_seqlora::precision::Precision;
use burn_seqlora::prelude::*;
use burn_seqlora::settings::Memory;
use burn_seqlora::{LoadOptions, methods};
use seqlora_dry_cuda::{Architecture, Counters, Dry, DryDevice};

/// What the kernels are lowered for.
pub const ARCHITECTURES: [Architecture; 2] = [Architecture::Ampere, Architecture::Hopper];

/// The method by which a second concept is learnt, the cheapest that has all projections.
const FURTHER: &str = "alternating";

/// What a run asked for.
pub struct Run {
    pub architecture: Architecture,
    pub precision: Precision,
    /// `generate`, a method's name for one training step, that of SeqLoRA with low memory, or `a further concept`.
    pub what: &'static str,
    pub counters: Counters,
}

/// Whether everything is run, by `SEQLORA_ARCHITECTURES=all`. Else numbers of 16 bits are those of images, f16 on the
/// older device only, and of a step of SeqLoRA in bf16: the other methods differ from it by a few kernels.
pub fn everything() -> bool {
    env::var("SEQLORA_ARCHITECTURES").is_ok_and(|which| which == "all")
}

/// All runs, done once for all tests.
pub fn runs() -> &'static [Run] {
    static RUNS: OnceLock<Vec<Run>> = OnceLock::new();
    RUNS.get_or_init(|| {
        thread::scope(|scope| {
            let all = ARCHITECTURES.map(|architecture| scope.spawn(move || runs_on(architecture)));
            all.into_iter().flat_map(|runs| runs.join().expect("no run panics")).collect()
        })
    })
}

fn runs_on(architecture: Architecture) -> Vec<Run> {
    let mut all = Vec::new();
    let skipped = |precision: &Precision| {
        *precision == Precision::F16 && architecture == Architecture::Hopper && !everything()
    };
    let precisions = [Precision::F32, Precision::F16, Precision::Bf16];
    for precision in precisions.into_iter().filter(|precision| !skipped(precision)) {
        for (what, counters) in run(architecture, precision) {
            let errors = &counters.errors;
            assert!(errors.is_empty(), "{architecture:?} {precision} {what}: {errors:?}");
            all.push(Run { architecture, precision, what, counters });
        }
    }
    all
}

/// An image, a training step by each method, and one of a further concept; nothing is trained in f16.
fn run(architecture: Architecture, precision: Precision) -> Vec<(&'static str, Counters)> {
    let device = DryDevice::Counting(architecture);
    let folder = tempfile::tempdir().unwrap();
    let photos = ["mug", "cup"].map(|concept| folder.path().join(concept));
    photos.iter().for_each(|photos| draw_photos(photos));
    let options = LoadOptions { precision, ..LoadOptions::default() };
    let load = || Model::<Autodiff<Dry>>::load_with("builtin", &options, &device).unwrap();
    let mut counted = Vec::new();

    let pipeline = Pipeline::new(load());
    device.take_counters();
    pipeline.generate(Prompt::new("a red ball on grass").steps(2)).unwrap();
    counted.push(("generate", device.take_counters()));

    let model = load();
    let is_run = |method: &str| match precision {
        Precision::F32 => true,
        Precision::F16 => false,
        Precision::Bf16 => everything() || method == TrainConfig::default().method,
    };
    let config = |method: &str| TrainConfig {
        method: method.into(),
        precision,
        steps: 1,
        probes: 1,
        ..TrainConfig::default()
    };
    for &method in methods::NAMES.iter().filter(|method| is_run(method)) {
        device.take_counters();
        learn(&photos[0], folder.path().join(method), &model, &config(method)).unwrap();
        counted.push((method, device.take_counters()));
    }
    if precision == Precision::F32 {
        let low = TrainConfig { memory: Memory::Low, ..config(&TrainConfig::default().method) };
        device.take_counters();
        learn(&photos[0], folder.path().join("low"), &model, &low).unwrap();
        counted.push(("seqlora, low memory", device.take_counters()));
        // Orthogonal to a concept and a common direction, which an empty bank has none of.
        let config = TrainConfig {
            protected_directions: 1,
            common_prompts: vec!["a photo of a mug".into()],
            ..config(FURTHER)
        };
        device.take_counters();
        learn(&photos[1], folder.path().join(FURTHER), &model, &config).unwrap();
        counted.push(("a further concept", device.take_counters()));
    }
    counted
}

/// Two photos of a concept.
fn draw_photos(concept: &Path) {
    std::fs::create_dir_all(concept).unwrap();
    for shade in [120, 220] {
        let photo =
            image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([shade, 3 * x as u8, 3 * y as u8]));
        photo.save(concept.join(format!("{shade}.png"))).unwrap();
    }
}
