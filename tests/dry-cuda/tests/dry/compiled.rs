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

/// Bytes that some kernels of ours spill, because the assembler takes 32 to 64 registers for a unit, of 255 that it may
/// take, so that all units of a multiprocessor have some: no other kernel spills.
const KNOWN_SPILLS: [(&str, usize); 5] = [
    ("value_kernel", 44),
    ("sum_kernel_f_f32", 84),
    ("standardize_kernel_f_f32", 16),
    ("project_kernel_f_bf16", 16),
    ("curve_kernel_f_bf16", 16),
];

/// Without errors, and without spills in kernels of ours that are not known.
fn compiles(architecture: Architecture) {
    runs();
    let nvrtc = Nvrtc::open().unwrap_or_else(|error| panic!("{error}"));
    let kernels = DryDevice::Counting(architecture).kernels();
    assert!(kernels.len() > 100, "{} kernels", kernels.len());
    let wrong = |kernel: &LoweredKernel| match nvrtc.compile(&kernel.source, architecture) {
        Err(log) => Some(format!("{}: {log}", kernel.name)),
        Ok(compiled) => {
            let known = KNOWN_SPILLS.iter().find(|(entry, _)| *entry == kernel.entry);
            let spills = kernel.is_ours() && compiled.spilled > known.map_or(0, |(_, most)| *most);
            spills.then(|| {
                let (spilled, registers) = (compiled.spilled, compiled.registers);
                format!("{}: {spilled} bytes spilled, {registers} registers", kernel.entry)
            })
        }
    };
    let wrong: Vec<String> = kernels.par_iter().filter_map(wrong).collect();
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
