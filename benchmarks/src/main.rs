//! Seconds and peak memory of one SeqLoRA iteration's parts on a given model.
//!
//! ```text
//! cargo run --release -p seqlora-benchmarks -- MODEL [RESOLUTION] [REPEATS]
//! ```
//!
//! Prints one JSON object per row: `name`, `seconds` (the fastest of the repeats) and
//! `peak_bytes` of the process so far.

use std::path::Path;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::adapter::{AdapterSet, Factors, SiteSelection, directions::Columns, plan_ranks};
use burn_seqlora::bilevel::{Bilevel, TrainState};
use burn_seqlora::config::TrainConfig;
use burn_seqlora::diff::{Wrt, gradient, hessian_product};
use burn_seqlora::diffusion::{DenoisingLoss, DenoisingSample};
use burn_seqlora::encode::concept_vocabulary;
use burn_seqlora::model::{Denoiser, DiffusionModel, LatentCodec, TextEncoder};
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::text::TextBatch;
use seqlora_kernels::Flex;
use seqlora_models::StableDiffusion;
use serde_json::json;

/// Keeps freed memory: with the system's allocator every large tensor costs page faults again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type B = Autodiff<Flex>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: seqlora-benchmarks MODEL [RESOLUTION] [REPEATS]")?;
    let resolution: usize = args.next().map_or(Ok(256), |text| text.parse())?;
    let repeats: usize = args.next().map_or(Ok(1), |text| text.parse())?;

    let device = Default::default();
    let start = Instant::now();
    let model = StableDiffusion::<B>::load(Path::new(&folder), &device)?;
    row("load", start.elapsed().as_secs_f64());

    let config = TrainConfig { outer: 1, inner: 2, batch: 1, ..TrainConfig::default() };
    let sample = sample(&model, &config, resolution)?;
    let loss = DenoisingLoss { model: &model, schedule: model.noise_schedule() };
    let mut state = state(&model, &config);
    let basis = Factors::empty(model.sites().len());
    let sites = model.sites();
    let bilevel = Bilevel::<B, _> { objective: &loss, config: &config, sites, basis: &basis };

    time("loss (forward)", repeats, || {
        bilevel.loss(&state.parameters, &sample);
    });
    time("gradient", repeats, || {
        gradient::<B, _>(&loss, &state.parameters, &sample, Wrt::All);
    });
    let direction = state.parameters.adapters.up.map(|_, a: Tensor<Flex, 2>| a.ones_like());
    time("Hessian product", repeats, || {
        hessian_product::<B, _>(&loss, &state.parameters, &direction, &sample);
    });
    time("SeqLoRA iteration (K=1, T=2)", repeats, || {
        bilevel.step(&mut state, |_, _| &sample);
    });
    Ok(())
}

fn sample(
    model: &StableDiffusion<B>,
    config: &TrainConfig,
    resolution: usize,
) -> Result<DenoisingSample<B>, Box<dyn std::error::Error>> {
    let device = DiffusionModel::<B>::device(model);
    let side = resolution / model.downscale();
    let layers = model.cross_attention_layers();
    let vocabulary = concept_vocabulary("dog", config, layers);
    let tokens = model.tokenize(&vocabulary.split("a photo of a <dog>")?)?;
    let mut rng = Seed::new(0).at(0);
    let mut draw = || normal([1, model.latent_channels(), side, side], &mut rng, &device);
    Ok(DenoisingSample {
        latents: draw(),
        noise: draw(),
        timesteps: vec![500],
        mask: Tensor::ones([1, 1, side, side], &device),
        prompts: TextBatch::new(&[tokens], &vocabulary, layers, &device),
    })
}

fn state(model: &StableDiffusion<B>, config: &TrainConfig) -> TrainState<Flex> {
    let sites = model.sites();
    let occupied = vec![Columns::new(); sites.len()];
    let used = vec![0; sites.len()];
    let plan = plan_ranks(sites, SiteSelection::Attention, &used, config.rank, None);
    let rows = config.tokens.words() * config.tokens.rows_per_word(model.cross_attention_layers());
    let device = DiffusionModel::<B>::device(model);
    let rows = Tensor::zeros([rows, model.token_width()], &device);
    let state = TrainState::new(config, sites, &plan.ranks, &occupied, rows, &Seed::new(0));
    // With A = 0 some products vanish; a trained adapter has none that do.
    let up = state.parameters.adapters.up.map(|_, a| a.add_scalar(1e-3));
    let mut state = state;
    state.parameters.adapters = AdapterSet { up, down: state.parameters.adapters.down };
    state
}

fn time(name: &str, repeats: usize, mut run: impl FnMut()) {
    let once = |_| {
        let start = Instant::now();
        run();
        Flex::sync(&Default::default()).expect("the CPU is always in step");
        start.elapsed().as_secs_f64()
    };
    row(name, (0..repeats).map(once).fold(f64::INFINITY, f64::min));
}

fn row(name: &str, seconds: f64) {
    println!("{}", json!({ "name": name, "seconds": seconds, "peak_bytes": peak_bytes() }));
}

/// Largest resident memory of this process so far (Linux); `None` elsewhere.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
