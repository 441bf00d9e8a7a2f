//! NVIDIA's compiler takes every kernel that the runs launch.

use std::collections::HashSet;

use burn_seqlora::precision::Precision;
use rayon::prelude::*;
use seqlora_dry_cuda::{Architecture, DryDevice, LoweredKernel, Nvrtc};

use crate::runs::{ARCHITECTURES, everything, runs};

/// Bytes that some kernels of ours spill, because the assembler takes 32 to 64 registers for a unit, of 255 that it may
/// take, so that all units of a multiprocessor have some: no other kernel spills.
const KNOWN_SPILLS: [(&str, usize); 9] = [
    ("value_kernel_f_f32", 24),
    ("value_kernel_f_f16", 24),
    ("value_kernel_f_bf16", 24),
    ("statistics_kernel_f_bf16", 104),
    ("queries_kernel_f_bf16", 32),
    ("sum_kernel_f_f32", 84),
    ("standardize_kernel_f_f32", 16),
    ("project_kernel_f_bf16", 16),
    ("curve_kernel_f_bf16", 44),
];

/// Without errors, and without spills in kernels of ours that are not known. A source that both devices get is compiled
/// for the older one, and for both if everything is asked for.
#[test]
fn every_kernel_compiles() {
    runs();
    let nvrtc = Nvrtc::open().unwrap_or_else(|error| panic!("{error}"));
    let [older, newer] = ARCHITECTURES.map(|device| DryDevice::Counting(device).kernels());
    assert!(older.len() > 100 && newer.len() > 100, "{} and {} kernels", older.len(), newer.len());
    let of_older: HashSet<&str> = older.iter().map(|kernel| kernel.source.as_str()).collect();
    let newer =
        newer.iter().filter(|kernel| everything() || !of_older.contains(kernel.source.as_str()));
    let [ampere, hopper] = ARCHITECTURES;
    let kernels: Vec<(&LoweredKernel, Architecture)> =
        older.iter().map(|kernel| (kernel, ampere)).chain(newer.map(|k| (k, hopper))).collect();
    let wrong: Vec<String> = kernels
        .par_iter()
        .filter_map(|(kernel, architecture)| fault(&nvrtc, kernel, *architecture))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), kernels.len(), wrong.join("\n"));
}

/// What is wrong with a kernel.
fn fault(nvrtc: &Nvrtc, kernel: &LoweredKernel, architecture: Architecture) -> Option<String> {
    let compiled = match nvrtc.compile(&kernel.source, architecture) {
        Ok(compiled) => compiled,
        Err(log) => return Some(format!("{} for {}: {log}", kernel.name, architecture.name())),
    };
    let known = KNOWN_SPILLS.iter().find(|(entry, _)| *entry == kernel.entry);
    let spills = kernel.is_ours() && compiled.spilled > known.map_or(0, |(_, most)| *most);
    let (spilled, registers) = (compiled.spilled, compiled.registers);
    spills.then(|| format!("{}: {spilled} bytes spilled, {registers} registers", kernel.entry))
}

/// Tensor cores round f32 to 11 bits.
#[test]
fn no_kernel_of_an_f32_run_uses_tensor_cores() {
    runs();
    let kernels = DryDevice::Counting(Architecture::Hopper).kernels();
    let mut of_16_bits = 0;
    for run in runs().iter().filter(|run| run.architecture == Architecture::Hopper) {
        let launched = run.counters.launches.keys().map(|number| &kernels[*number]);
        let on_tensor_cores: Vec<&LoweredKernel> =
            launched.filter(|kernel| kernel.uses_tensor_cores()).collect();
        match (run.precision, on_tensor_cores.first()) {
            (Precision::F32, Some(kernel)) => panic!("{}: {}", run.what, kernel.name),
            (Precision::F32, None) => {}
            (Precision::F16 | Precision::Bf16, _) => of_16_bits += on_tensor_cores.len(),
        }
    }
    assert!(of_16_bits > 0, "no kernel of 16 bits does either: would one be recognised?");
}
