//! NVIDIA's compiler takes every kernel that the runs launch.

use burn_seqlora::precision::Precision;
use rayon::prelude::*;
use seqlora_dry_cuda::{Architecture, DryDevice, LoweredKernel, Nvrtc};

use crate::runs::runs;

#[test]
fn every_kernel_compiles_for_sm_80() {
    compiles(Architecture::Ampere);
}

#[test]
fn every_kernel_compiles_for_sm_90() {
    compiles(Architecture::Hopper);
}

/// Without errors, and without spills in kernels of ours.
fn compiles(architecture: Architecture) {
    runs();
    let nvrtc = Nvrtc::open().unwrap_or_else(|error| panic!("{error}"));
    let kernels = DryDevice::Counting(architecture).kernels();
    assert!(kernels.len() > 100, "{} kernels", kernels.len());
    let wrong: Vec<String> = kernels
        .par_iter()
        .filter_map(|kernel| match nvrtc.compile(&kernel.source, architecture) {
            Err(log) => Some(format!("{}: {log}", kernel.name)),
            Ok(compiled) if kernel.is_ours() && compiled.spilled > 0 => {
                let _ = std::fs::write(format!("/tmp/{}.cu", kernel.entry), &kernel.source);
                let (spilled, registers) = (compiled.spilled, compiled.registers);
                Some(format!("{}: {spilled} bytes spilled, {registers} registers", kernel.entry))
            }
            Ok(_) => None,
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} kernels:\n{}",
        wrong.len(),
        kernels.len(),
        wrong.join("\n")
    );
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
