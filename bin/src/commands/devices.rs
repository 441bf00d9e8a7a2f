//! `seqlora devices`

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::machine;
use crate::terminal::{Terminal, bytes, table};

/// A device that this program can compute on.
struct Line {
    /// As `--device` takes it.
    device: String,
    name: String,
    details: String,
}

/// The backends and whether they were compiled in.
const BACKENDS: [(&str, bool); 3] = [
    ("cpu", cfg!(feature = "cpu")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("cuda", cfg!(feature = "cuda")),
];

/// Lists the devices of this machine, and the backends that this program was built without.
pub fn run(terminal: &Terminal) -> Result<(), Failure> {
    let mut lines = Vec::new();
    if cfg!(feature = "cpu") {
        lines.push(cpu());
    }
    #[cfg(feature = "wgpu")]
    lines.extend(wgpu());
    if cfg!(feature = "cuda") {
        lines.extend(cuda());
    }
    let missing = BACKENDS.iter().filter(|(_, built)| !built).map(|(name, _)| *name);
    let missing: Vec<&str> = missing.collect();
    let devices: Vec<Value> = lines
        .iter()
        .map(|Line { device, name, details }| {
            json!({ "device": device, "name": name, "details": details })
        })
        .collect();
    terminal.result(&json!({ "devices": devices, "not_built_in": missing }), || {
        let head = ["device", "name", "details"].map(String::from).to_vec();
        let row = |line: &Line| vec![line.device.clone(), line.name.clone(), line.details.clone()];
        let rows = [vec![head], lines.iter().map(row).collect()].concat();
        let missing =
            missing.iter().map(|name| format!("\n{name} is not built in: --features {name}"));
        format!("{}{}", table(&rows), missing.collect::<String>())
    })
}

fn cpu() -> Line {
    let memory = machine::memory().map(|memory| {
        let [total, available] = [memory.total, memory.available].map(|b| bytes(b as usize));
        format!(", {total} of memory, {available} available")
    });
    Line {
        device: "cpu".into(),
        name: machine::processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
        details: format!("{} threads{}", machine::cores(), memory.unwrap_or_default()),
    }
}

/// The adapters among which `--device wgpu` chooses: those of Vulkan, on macOS of Metal.
#[cfg(feature = "wgpu")]
fn wgpu() -> Vec<Line> {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};

    let backends = if cfg!(target_os = "macos") { Backends::METAL } else { Backends::VULKAN };
    let descriptor =
        InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() };
    let instance = Instance::new(descriptor);
    // Outside of browsers this waits for nothing.
    let found = pin!(instance.enumerate_adapters(backends));
    let Poll::Ready(adapters) = found.poll(&mut Context::from_waker(Waker::noop())) else {
        return Vec::new();
    };
    let mut discrete = 0;
    let line = |adapter: wgpu::Adapter| {
        let info = adapter.get_info();
        let (device, kind) = match info.device_type {
            DeviceType::DiscreteGpu => (format!("wgpu:{discrete}"), "discrete GPU"),
            DeviceType::IntegratedGpu => ("wgpu".into(), "integrated GPU"),
            DeviceType::VirtualGpu => ("wgpu".into(), "virtual GPU"),
            DeviceType::Cpu => ("wgpu".into(), "software, on the CPU"),
            DeviceType::Other => ("wgpu".into(), "of unknown kind"),
        };
        discrete += usize::from(info.device_type == DeviceType::DiscreteGpu);
        let details = format!("{kind}, {:?}, {} {}", info.backend, info.driver, info.driver_info);
        Line { device, name: info.name, details: details.trim_end().into() }
    };
    adapters.into_iter().map(line).collect()
}

/// The GPUs that NVIDIA's driver knows on Linux. CUDA numbers them itself.
fn cuda() -> Vec<Line> {
    let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let line = |gpu: std::fs::DirEntry| {
        let text = std::fs::read_to_string(gpu.path().join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        let place = gpu.file_name().to_string_lossy().into_owned();
        Some(Line { device: "cuda[:N]".into(), name: model.trim().into(), details: place })
    };
    gpus.filter_map(line).collect()
}
