//! `--device wgpu` through the command line: the same results as on the CPU, up to rounding.
//!
//! Only with the feature `wgpu`, which compiles the whole program for a second backend: `.ci/full` runs it.

use std::fs;

use serde_json::Value;

use crate::harness::Project;

/// Losses of a learnt concept before and after.
fn losses(summary: &Value) -> [f64; 2] {
    ["initial_loss", "final_loss"].map(|key| summary["concepts"][0][key].as_f64().expect(key))
}

/// The pixels of the image that `generate` makes on a device.
fn pixels(project: &Project, device: &str) -> Vec<u8> {
    let png = project.image("a photo of <cat>", &format!("--device {device}"));
    image::load_from_memory(&png).unwrap().into_rgb8().into_raw()
}

#[test]
fn a_concept_is_learnt_and_drawn_on_wgpu_as_on_the_cpu() {
    let learn = |device: &str| {
        let project = Project::new(&["cat"]);
        let run = project.learn("photos", &format!("--json --device {device}")).succeeds();
        (losses(&run.json()), project)
    };
    let (cpu, wgpu) = (learn("cpu"), learn("wgpu"));
    // Adam divides by gradients that are nearly zero, so that a last bit may grow.
    for (cpu, wgpu) in cpu.0.iter().zip(&wgpu.0) {
        assert!((cpu - wgpu).abs() < 5e-3 * cpu, "loss on the CPU {cpu}, on wgpu {wgpu}");
    }
    assert!(wgpu.0[1] < wgpu.0[0], "it learns: {:?}", wgpu.0);

    // The bank that wgpu wrote, drawn on both.
    let images = ["cpu", "wgpu"].map(|device| pixels(&wgpu.1, device));
    let largest = images[0].iter().zip(&images[1]).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(largest <= Some(2), "pixels differ by {largest:?}");
    assert!(
        images[0].iter().any(|byte| *byte != images[0][0]),
        "an image of one colour says nothing"
    );
}

/// `devices` lists the adapters by name.
#[test]
fn adapters_are_listed() {
    let list = Project::new(&[]).run(&["devices", "--json"]).succeeds().json();
    let devices = list["devices"].as_array().expect("a list");
    let named = |device: &Value| {
        let text = |key: &str| device[key].as_str().expect("a text");
        text("device").starts_with("wgpu") && !text("name").is_empty()
    };
    assert!(devices.iter().any(named), "{list:#}");
}

/// A device that is not there is named before anything is loaded or written.
#[test]
fn a_missing_gpu_is_named() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--device wgpu:99").fails(2, &["there is no device wgpu:99"]);
    assert!(fs::metadata(project.path("bank")).is_err());
}
