//! What a training step and an image cost on a GPU, by launches, bytes and copies, for a model of any size.
//!
//! ```sh
//! python tests/reference/make_fixtures.py --full MODEL   # or a real one
//! cargo run --release -p seqlora-dry-cuda --example count -- MODEL 512 f32 seqlora fast
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::{env, fs};

use burn_seqlora::precision::Precision;
use burn_seqlora::prelude::*;
use burn_seqlora::settings::{Memory, TrainConfig};
use burn_seqlora::train::Event;
use burn_seqlora::{LoadOptions, RgbImage};
use seqlora_dry_cuda::{Architecture, Counters, Dry, DryDevice};

const DEVICE: DryDevice = DryDevice::Counting(Architecture::Hopper);

/// Kernels that are listed.
const LISTED: usize = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, side, precision, method, memory] = &arguments[..] else {
        return Err("give a model, a side in pixels, f32 or bf16, a method, and fast or low".into());
    };
    let precision = if precision == "bf16" { Precision::Bf16 } else { Precision::F32 };
    let options = LoadOptions { precision, ..LoadOptions::default() };
    let model = Model::<Autodiff<Dry>>::load_with(model, &options, &DEVICE)?;
    show("loading the model", &DEVICE.take_counters());

    let folder = tempfile::tempdir()?;
    let photos = folder.path().join("dog");
    fs::create_dir_all(&photos)?;
    let side: u32 = side.parse()?;
    for number in 0..2 {
        let photo = RgbImage::from_fn(side, side, |x, y| [x as u8, y as u8, 100 * number].into());
        photo.save(photos.join(format!("{number}.png")))?;
    }
    let config = TrainConfig {
        method: method.clone(),
        memory: if memory == "low" { Memory::Low } else { Memory::Fast },
        steps: 2,
        crops: 1,
        probes: 1,
        resolution: Some(side as usize),
        precision,
        ..TrainConfig::default()
    };
    Learning::new(&model, &config).run(&photos, folder.path().join("bank"), |event| {
        match event {
            Event::Ready { .. } => show("encoding, and the loss before", &DEVICE.take_counters()),
            Event::Step(report) => show(&format!("step {}", report.step), &DEVICE.take_counters()),
            _ => {}
        }
        Flow::Continue
    })?;
    Ok(())
}

fn show(what: &str, counters: &Counters) {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    println!(
        "{what}: {} launches, {:.1} GB allocated, {:.2} GB at most in use, {} metadata copies, {} reads, {} writes",
        counters.total_launches(),
        gigabytes(counters.allocated_bytes),
        gigabytes(counters.peak_bytes),
        counters.total_metadata_copies(),
        counters.reads,
        counters.writes,
    );
    for error in counters.errors.iter().take(5) {
        println!("    {error}");
    }
    let kernels = DEVICE.kernels();
    // Launches, and those with a copy of shapes and strides.
    let mut names: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (number, count) in &counters.launches {
        let copies = counters.metadata_copies.get(number).copied().unwrap_or(0);
        // Without the names of its parameters.
        let name = kernels[*number].name.split('<').next().unwrap_or_default();
        let sums = names.entry(name).or_default();
        *sums = [sums[0] + count, sums[1] + copies];
    }
    let mut names: Vec<(&str, [usize; 2])> = names.into_iter().collect();
    names.sort_by_key(|(_, sums)| std::cmp::Reverse(*sums));
    for (name, [count, copies]) in names.iter().take(LISTED) {
        println!("    {count:7} {copies:7} {name}");
    }
}
